use crate::chart;
use crate::options::Options;

fn parse(line: &str) -> Result<Options, String> {
    Options::parse(line.split_whitespace().map(str::to_owned))
}

fn problem(line: &str) -> String {
    parse(line).err().expect("it makes no sense")
}

#[test]
fn without_a_name_all_scenarios_run() {
    let names =
        |line| parse(line).unwrap().scenarios.iter().map(|scenario| scenario.name()).collect::<Vec<_>>();
    assert_eq!(names(""), ["crash", "partition", "spiral", "stall"]);
    assert_eq!(names("stall crash"), ["crash", "stall"]);
}

#[test]
fn what_makes_no_sense_is_told_with_what_to_do() {
    for (line, expected) in [
        ("tsunami", "there is no scenario tsunami: choose of crash, partition, spiral, stall"),
        ("crash --lag-ms", "--lag-ms needs a value"),
        ("crash --lag-ms soon", "--lag-ms needs a whole number, not soon"),
        ("crash --rate 0", "--rate goes from 1 to 1000000"),
        ("crash --max-lag-s 5", "no scenario that is to run has a parameter --max-lag-s"),
        ("partition --heal-s 30", "partition: --heal-s must be later than --promote-s"),
        (
            "partition --bytes 1000",
            "partition: this would write more than the 1,000 MB that are kept: lower --writes or --bytes",
        ),
        ("spiral --high-hard-mb 10", "spiral: --high-soft-mb must not be above --high-hard-mb"),
    ] {
        assert_eq!(problem(line), expected, "{line}");
    }
}

#[test]
fn a_parameter_is_set_in_each_scenario_that_has_it() {
    let mut options = parse("--max-lag-s 7").unwrap();
    let parameters = options.scenarios.iter_mut().flat_map(|scenario| scenario.parameters());
    let set = parameters.filter(|parameter| parameter.name == "max-lag-s").map(|parameter| *parameter.value);
    assert_eq!(set.collect::<Vec<_>>(), [7, 7]);
    assert!(Options::help().contains("--max-lag-s"));
    assert_eq!(parse("stall --svg out").unwrap().svg.unwrap().to_str(), Some("out"));
}

#[test]
fn a_picture_tells_the_gate_the_limit_and_what_is_lost() {
    let options = parse("partition --writes 3000 --stay-percent 50").unwrap();
    let [partition] = &options.scenarios[..] else { panic!("one was named") };
    let account = partition.run();
    let picture = chart::draw(partition.title(), &account.charts);
    for text in
        [">lost: 4,500 writes<", ">lost: 1,000 writes<", ">closed<", ">virtual time (s)<", ">offset (kB)<"]
    {
        assert!(picture.contains(text), "{text}");
    }
    assert!(picture.contains("hard limit: 268.4 MB") && !picture.contains("NaN"));
    assert_eq!(account.notes, ["output limit in force: 268.4 MB, or 67.1 MB for 60 s (backlog 96,000 B)"]);
    assert!(account.table.to_string().contains("10.010 s"), "the first refused: {}", account.table);
}
