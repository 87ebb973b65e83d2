//! Feeds the readers of outside bytes with ever other bytes, guided by which code each input
//! reaches (libFuzzer). `make fuzz-parsers` builds and runs it.
//!
//! One program has all targets, so that the shop's code is linked once. Each target is a function
//! that takes any bytes and panics where a reader breaks a promise: what it takes is within its
//! limits, and is the same when it is written and read again.
//!
//! Without `--cfg fuzzing` there is nothing here.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
mod events;
#[cfg(fuzzing)]
mod files;
#[cfg(fuzzing)]
mod prices;
#[cfg(fuzzing)]
mod records;
#[cfg(fuzzing)]
#[path = "../../shop/src/retail.rs"]
#[expect(dead_code, unused_imports, reason = "the shop is a program, of which one reader is fed")]
mod retail;
#[cfg(fuzzing)]
mod targets;
#[cfg(fuzzing)]
mod words;

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(init: targets::choose(), |bytes: &[u8]| targets::feed(bytes));

#[cfg(not(fuzzing))]
fn main() {}
