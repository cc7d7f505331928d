//! What is written in a configuration, before anybody knows what it means.
