//! One binary for every test that crosses folders: each further binary would link everything again.

mod bad_input;
mod cli;
mod committed;
mod house;
mod program;
mod shared;
mod smoke;
mod toy;
