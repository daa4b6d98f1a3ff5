#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says on stdout why it skips"
)]

//! One binary for every test that crosses folders: each further binary would link everything again.

mod arrow_stream;
mod bad_input;
mod bos;
mod browser;
mod cases;
mod chaos;
mod chosen;
mod circles;
mod cli;
mod committed;
mod dictionaries;
mod effects;
mod explorer;
mod export;
mod fake_llm;
mod faults;
mod fuzz;
mod gate;
mod hostile_files;
mod house;
mod hub;
mod init;
mod judged;
mod language_model;
mod local_model;
mod model_server;
mod names;
mod object_server;
mod pages;
mod parts;
mod patching_page;
mod plan;
mod profiles;
mod program;
mod remote;
#[cfg(unix)]
mod resume;
mod schemas;
mod shared;
mod smoke;
mod snapshots;
mod steer;
mod stored;
mod submit;
mod task;
mod terminal;
mod toy;
mod trace;
mod tutorial;
mod two_runs;
mod untidy_text;
mod verified;
