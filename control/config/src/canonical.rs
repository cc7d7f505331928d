//! A plan in canonical form: as the operator could have written it, defaults visible, secrets only as references.
