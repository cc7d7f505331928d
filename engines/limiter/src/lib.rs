//! Rate limits by GCRA (the generic cell rate algorithm, ITU-T I.371), in a table of fixed size.
//!
//! A key's whole state is one number: its *theoretical arrival time*, when its bucket will be full again. A charge moves it on by
//! `cost x interval`, and is granted if it is then at most `burst x interval` ahead of now. A key whose time has passed is the same as
//! one never seen, so its slot can be given to another at no loss; the table needs no sweeping.
//!
//! No clock and no I/O: time comes from the caller, in nanoseconds of a clock that does not go back.

mod rate;
mod table;

pub use rate::{Rate, RateError, Standing};
pub use table::{CHARGES_MAX, Charge, Grant, KeyHash, Refusal, Table};

#[cfg(test)]
mod tests;
