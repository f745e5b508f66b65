//! Four ways in which replicated stores lose data, or stop: each without and with its defence.
//!
//! Real nodes replicate to each other over a network and a clock that are made up (`world`), so minutes take seconds, and
//! each run is the same. What is lost is counted by the keys that one store holds and the other does not.
//!
//! ```text
//! cargo run --release --example scenarios
//! cargo run --release --example scenarios -- --svg out
//! cargo run --release --example scenarios -- crash --lag-ms 50 --rate 20000
//! cargo run --release --example scenarios -- --help
//! ```

#![allow(unreachable_pub, reason = "nothing in a program can be reached from outside")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod chart;
mod crash;
mod options;
mod partition;
mod scenario;
mod spiral;
mod stall;
mod table;
#[allow(dead_code, reason = "other programs use other parts of it")]
mod world;

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs, io};

use options::Options;
use scenario::{Account, Scenario};

fn main() -> ExitCode {
    if env::args().any(|word| word == "--help") {
        print!("{}", Options::help());
        return ExitCode::SUCCESS;
    }
    let options = match Options::parse(env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("scenarios: {problem}; --help tells what there is");
            return ExitCode::from(2);
        }
    };
    for scenario in &options.scenarios {
        let account = scenario.run();
        tell(scenario.as_ref(), &account);
        if let Some(directory) = &options.svg
            && let Err(error) = draw(scenario.as_ref(), &account, directory)
        {
            eprintln!("scenarios: can't write to {}: {error}", directory.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn tell(scenario: &dyn Scenario, account: &Account) {
    println!("{}: {}\n\n{}", scenario.name(), scenario.title(), account.table);
    for note in &account.notes {
        println!("  {note}");
    }
    println!();
}

fn draw(scenario: &dyn Scenario, account: &Account, directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let path = directory.join(scenario.name()).with_extension("svg");
    fs::write(&path, chart::draw(scenario.title(), &account.charts))?;
    println!("  drawn: {}\n", path.display());
    Ok(())
}
