//! The integration tests: the real gateway, driven from outside, in one test binary (`tests/it/`).
