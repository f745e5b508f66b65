use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::scenario::{SCENARIOS, Scenario};

/// What the command line asks for.
pub struct Options {
    pub scenarios: Vec<Box<dyn Scenario>>,
    /// Where the pictures go.
    pub svg: Option<PathBuf>,
}

/// A number that can be set on the command line.
pub struct Parameter<'a> {
    pub name: &'static str,
    pub help: &'static str,
    pub range: RangeInclusive<u64>,
    pub value: &'a mut u64,
}

impl Options {
    pub fn parse(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut names, mut settings, mut svg) = (Vec::new(), Vec::new(), None);
        let mut words = words;
        while let Some(word) = words.next() {
            let Some(name) = word.strip_prefix("--") else {
                names.push(word);
                continue;
            };
            let value = words.next().ok_or_else(|| format!("--{name} needs a value"))?;
            match name {
                "svg" => svg = Some(PathBuf::from(value)),
                _ => settings.push((name.to_owned(), value)),
            }
        }
        let mut scenarios = choose(&names)?;
        for (name, value) in settings {
            set(&mut scenarios, &name, &value)?;
        }
        for scenario in &scenarios {
            scenario.check().map_err(|problem| format!("{}: {problem}", scenario.name()))?;
        }
        Ok(Self { scenarios, svg })
    }

    pub fn help() -> String {
        let mut help = String::from(USAGE);
        for make in SCENARIOS {
            let mut scenario = make();
            help += &format!("\n{}: {}\n", scenario.name(), scenario.title());
            for Parameter { name, help: what, value, .. } in scenario.parameters() {
                help += &format!("  --{name:<16} {what} [{value}]\n");
            }
        }
        help
    }
}

fn choose(names: &[String]) -> Result<Vec<Box<dyn Scenario>>, String> {
    let all: Vec<_> = SCENARIOS.iter().map(|make| make()).collect();
    let known: Vec<_> = all.iter().map(|scenario| scenario.name()).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("there is no scenario {unknown}: choose of {}", known.join(", ")));
    }
    let is_chosen = |name: &str| names.is_empty() || names.iter().any(|chosen| chosen == name);
    Ok(all.into_iter().filter(|scenario| is_chosen(scenario.name())).collect())
}

/// Sets a parameter of each scenario that has it.
fn set(scenarios: &mut [Box<dyn Scenario>], name: &str, text: &str) -> Result<(), String> {
    let mut parameters: Vec<_> = scenarios.iter_mut().flat_map(|scenario| scenario.parameters()).collect();
    parameters.retain(|parameter| parameter.name == name);
    if parameters.is_empty() {
        return Err(format!("no scenario that is to run has a parameter --{name}"));
    }
    let number = text.parse::<u64>().map_err(|_| format!("--{name} needs a whole number, not {text}"))?;
    for Parameter { range, value, .. } in parameters {
        if !range.contains(&number) {
            return Err(format!("--{name} goes from {} to {}", range.start(), range.end()));
        }
        *value = number;
    }
    Ok(())
}

const USAGE: &str = "\
Four ways in which replicated stores lose data or stop, each without and with its defence, in virtual time.

usage: scenarios [SCENARIO]... [--svg DIR] [--PARAMETER NUMBER]...

Without a SCENARIO all run. A parameter is set in each scenario that runs and has it.

  --svg DIR          draw a timeline of each into this directory
  --help             this
";
