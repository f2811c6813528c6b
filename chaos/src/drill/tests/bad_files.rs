//! Every way to write a drill wrongly, with what its author gets to read.

use crate::drill::file::Drill;
use crate::drill::shipped::shipped;

/// `leader-loss` with one text replaced by another.
fn changed(from: &str, to: &str) -> String {
    let text = shipped("leader-loss").unwrap();
    assert!(text.contains(from), "`{from}` is not in the file");
    text.replacen(from, to, 1)
}

/// What is said about it.
fn said(text: &str) -> String {
    match Drill::read("drill.yaml", text) {
        Ok(_) => panic!("it was taken:\n{text}"),
        Err(wrong) => wrong.to_string(),
    }
}

/// The complaint without its line of source.
fn check(from: &str, to: &str, message: &str, help: &str) {
    let said = said(&changed(from, to));
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("drill.yaml:") && lines[0].ends_with(message), "{said}");
    assert!(lines[1].starts_with("  | ") && lines[2].ends_with('^'), "{said}");
    assert_eq!(
        lines.get(3).copied().unwrap_or_default(),
        if help.is_empty() { String::new() } else { format!("  = {help}") },
        "{said}"
    );
}

#[test]
fn a_complaint_shows_file_line_column_and_what_was_meant() {
    let text = "\
title: A leader is lost
description: The leader is killed.
method:
- { type: action, name: kill it, provider: { type: remit, fault: kil, target: leader } }
";
    let expected = "\
drill.yaml:4:66: there is no fault `kil`
  | - { type: action, name: kill it, provider: { type: remit, fault: kil, target: leader } }
  |                                                                  ^
  = did you mean `kill`?";
    assert_eq!(said(text), expected);
}

#[test]
fn names_that_nobody_knows_are_refused_with_the_one_that_was_meant() {
    check("fault: kill", "fault: heal", "there is no fault `heal`", "did you mean `heal-network`?");
    check("fault: kill", "fault: revoke", "`revoke` is no fault but a task of the operator", "write `do: revoke`");
    check("do: revoke", "do: kill", "`kill` is no task of the operator but a fault", "write `fault: kill`");
    check("do: revoke", "do: revok", "there is no task of the operator `revok`", "did you mean `revoke`?");
    check("probe: fresh-edges", "probe: fresh-edge", "there is no probe `fresh-edge`", "did you mean `fresh-edges`?");
    check("target: leader", "target: lader", "there is no target `lader`", "did you mean `leader`?");
    check("target: leader", "target: eu-west", "there is no target `eu-west`", "did you mean `region=eu-west`?");
    check("target: leader", "target: \"edge=eu-west-3\"", "there is no edge `eu-west-3`", "did you mean `eu-west-1`?");
    check("target: leader", "target: \"voter=4\"", "there is no voter `4`", "there are `1`, `2` and `3`");
    check(
        "target: leader",
        "target: \"zone=a\"",
        "there is no selector `zone`",
        "there are `role`, `region`, `voter` and `edge`",
    );
    check(
        "target: leader",
        "tarket: leader",
        "`target` is missing",
        "say whom: `target: leader`, `target: \"role=edge\"`, `target: \"region=eu-west\"`",
    );
    check("pauses: { after: 12s", "pauses: { aftr: 12s", "there is no key `aftr`", "did you mean `after`?");
    check("rollbacks:", "rollback:", "there is no key `rollback`", "did you mean `rollbacks`?");
    assert!(said(&changed("invariants: [R1,", "invariants: [R9,")).contains("there is no invariant `R9`"));
    check(
        "probe: permit-share, below",
        "probe: permitshare, below",
        "there is no probe `permitshare`",
        "did you mean `permit-share`?",
    );
    check(
        "type: remit, fault",
        "type: python, fault",
        "provider `python` is not played here",
        "only `type: remit` is: faults, tasks of the operator, probes",
    );
}

#[test]
fn a_bound_that_nothing_measures_is_refused() {
    check(
        "write-gap-ms: 15000",
        "write-gap: 15000",
        "there is no figure that a run measures called `write-gap`",
        "did you mean `write-gap-ms`?",
    );
    let text = shipped("poisoned-bundle").unwrap().replacen("records-lost: 0", "rejoin-ms: 9000", 1);
    let said = said(&text);
    assert!(said.contains("nothing in this drill measures `rejoin-ms`\n  | "), "{said}");
    assert!(said.contains("  = it needs a step with one of `kill`, `power-cut`"), "{said}");
}

#[test]
fn targets_outside_the_blast_radius_are_refused() {
    let help = "aim at fewer, end the fault before, or widen `x-remit: blast-radius`";
    check(
        "target: leader",
        "target: \"role=control\"",
        "this reaches beyond the blast radius: 3 nodes would be hit at the same time; `max-nodes` is 1",
        help,
    );
    check(
        "target: leader",
        "target: \"edge=eu-west-1\"",
        "this reaches beyond the blast radius: 1 regions would be hit (eu-west); `max-regions` is 0",
        help,
    );
    let text = changed("target: leader", "target: \"voter=2\"");
    let text = text.replacen("max-regions: 0", "max-regions: 0, never: [\"voter=2\"]", 1);
    assert!(said(&text).contains("beyond the blast radius: voter/2 is never to be hit (`voter=2`)"));
    // Two at the same time, although each step hits one.
    let one = "- { type: action, name: start it again, provider: { type: remit, fault: start, target: hit }, pauses: { after: 10s } }";
    let two = "- { type: action, name: kill another, provider: { type: remit, fault: kill, target: follower } }";
    assert!(said(&changed(one, two)).contains("2 nodes would be hit at the same time"));
}

#[test]
fn a_target_that_may_turn_out_to_be_protected_is_refused() {
    let help = "aim at a voter by its number, `voter=2`, or take it out of `never`";
    for (never, whom) in [("role=control", "role=control"), ("voter=1", "voter=1")] {
        let protect = format!("max-regions: 0, never: [\"{never}\"]");
        let message = format!(
            "this reaches beyond the blast radius: `leader` may be voter/1, which is never to be hit (`{whom}`)"
        );
        let said = said(&changed("max-regions: 0", &protect));
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines[0].starts_with("drill.yaml:") && lines[0].ends_with(&message), "{said}");
        assert_eq!(lines[3], format!("  = {help}"), "{said}");
    }
    // Whom nobody can be mistaken for does not matter, and a voter that is named may be hit beside a protected one.
    let text = changed("max-regions: 0", "max-regions: 0, never: [\"role=edge\"]");
    assert!(Drill::read("drill.yaml", &text).is_ok());
    let text = changed("max-regions: 0", "max-regions: 0, never: [\"voter=1\"]")
        .replace("target: leader", "target: \"voter=2\"");
    assert!(Drill::read("drill.yaml", &text).is_ok());
}

#[test]
fn nobody_can_protect_whoever_it_may_be() {
    for word in ["leader", "follower", "minority", "majority", "hit"] {
        check(
            "max-regions: 0",
            &format!("max-regions: 0, never: [{word}]"),
            &format!("`never` cannot protect `{word}`: who that is changes while the drill is played"),
            "name nodes that stay the same: `role=control`, `voter=1`, `region=eu-west`",
        );
    }
}

#[test]
fn a_fault_on_whoever_is_hit_needs_somebody_who_is() {
    let nobody = "`hit` is nobody here: no step before this one has begun what it could mean";
    let help = "name whom it hits: `target: leader`, `target: \"voter=2\"`";
    check("fault: kill, target: leader", "fault: kill, target: hit", nobody, help);
    let jump = "fault: clock-jump, target: hit, by: -10m";
    check("fault: start, target: hit", jump, nobody, help);
    let text = changed("fault: kill, target: leader", "fault: clock-jump, target: leader, by: +10m");
    assert!(Drill::read("drill.yaml", &text.replacen("fault: start, target: hit", jump, 1)).is_ok());
}

#[test]
fn times_numbers_and_forms_are_checked() {
    let help = "write `5s`, `250ms`, `2m`, `1h`, or a number of seconds";
    check("after: 12s", "after: 12 sec", "`after` is `12 sec`; that is no length of time", help);
    check("after: 12s", "after: -5", "`after` is -5; that is no length of time", help);
    check("after: 12s", "after: 2h", "`after` is `2h`; it is at most 1h", "");
    check("max-nodes: 1", "max-nodes: 1.5", "`max-nodes` is 1.5; it must be a whole number", "");
    check("max-nodes: 1", "max-nodes: many", "`max-nodes` is text; it must be a number from 0 to 1000", "");
    check(
        "tolerance: 4",
        "tolerance: { type: range, range: [4] }",
        "a range has two numbers",
        "write `range: [LEAST, MOST]`; `.inf` is no limit",
    );
    check("tolerance: 4", "tolerance: { type: regex, range: [4, 4] }", "there is no type `regex`", "there are `range`");
    check("below: 0.5, ", "", "the condition has no limit", "add `above:` or `below:` with a number");
    check(
        "  blast-radius:",
        "  mesh: { voters: 4 }\n  blast-radius:",
        "`voters` is 4; it must be 3 or 5",
        "four voters can lose as many as three, with one more to fail",
    );
    check(
        "method:",
        "runtime: { rollbacks: { strategy: never } }\nmethod:",
        "there is no other strategy of rollbacks",
        "write `always`: what a drill did is undone however it ends",
    );
}

#[test]
fn a_drill_that_does_nothing_is_refused() {
    let text = "title: Nothing\ndescription: Nothing at all.\nmethod: []\n";
    assert!(
        said(text).starts_with("drill.yaml:3:9: the method is empty\n  | method: []\n  |         ^\n  = a drill has")
    );
    assert!(said("title: Nothing\ndescription: Nothing.\n").starts_with("drill.yaml:1:1: `method` is missing"));
    assert!(said("").contains("it must be a map"));
    assert!(said("- a\n- b\n").starts_with("drill.yaml:1:1: a drill is a list; it must be a map"));
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let text = changed("fault: kill", "fault: kil").replacen("do: revoke", "do: revok", 1).replacen("R1", "X1", 1);
    let said = said(&text);
    assert_eq!(said.matches("  = did you mean").count() + said.matches("  = there are").count(), 3, "{said}");
}

#[test]
fn what_a_terminal_would_act_on_is_not_shown() {
    let said = said(&changed("fault: kill", "fault: \"k\\e[31mil\""));
    assert!(!said.contains('\u{1b}'), "{said:?}");
}

#[test]
fn a_file_of_too_many_steps_is_refused() {
    let step = "- { type: action, name: wait, provider: { type: remit, do: wait } }\n";
    let text = format!("title: T\ndescription: D\nmethod:\n{}", step.repeat(201));
    assert!(said(&text).contains("`method` has 201 members; it has at most 200"));
}

proptest::proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in "[ -~\n]{0,400}") {
        let _ = Drill::read("any", &text);
    }

    #[test]
    fn no_damage_to_a_drill_breaks_the_reader(at in 0_usize..3_000, with in "[ -~\n]{0,6}", cut in 0_usize..12) {
        let text = shipped("region-cut-off").unwrap();
        let (at, end) = (at.min(text.len()), (at + cut).min(text.len()));
        let damaged = format!("{}{with}{}", &text[..at], &text[end.max(at)..]);
        if let Err(wrong) = Drill::read("any", &damaged) {
            proptest::prop_assert!(!wrong.0.is_empty());
        }
    }
}

#[test]
fn what_is_no_rollout_is_refused() {
    const HOW: &str = "write `waves: [\"edge=eu-west-1\", \"region=eu-west\"]`; after the last it is everybody's";
    let rolls = |rest: &str| format!("do: roll-out{rest}");
    check("do: revoke", &rolls(""), "`waves` is missing", HOW);
    check("do: revoke", &rolls(", waves: [[]]"), "a wave is for some edge", HOW);
    check("do: revoke", &rolls(", waves: [leader]"), "`leader` is no wave", "a wave is edges, regions, or `role=edge`");
    check(
        "do: revoke",
        &rolls(", waves: [\"edge=eu-west-9\"]"),
        "there is no edge `eu-west-9`",
        "did you mean `eu-west-1`?",
    );
    let harm = rolls(", waves: [\"edge=eu-west-1\"], harm: denys");
    check("do: revoke", &harm, "there is no harm `denys`", "did you mean `denies`?");
    let gates = rolls(", waves: [\"edge=eu-west-1\"], gates: { p99: 3 }");
    check("do: revoke", &gates, "there is no key `p99`", "did you mean `p99-ms`?");
    let rate = rolls(", waves: [\"edge=eu-west-1\"], gates: { failed-per-mille: 1001 }");
    check("do: revoke", &rate, "`failed-per-mille` is 1001; it must be a number from 0 to 1000", "");
    let expects = "do: revoke, expect: taken-back";
    check("do: revoke", expects, "`revoke` is no rollout: it is acknowledged, or refused", "");
}

#[test]
fn a_rollout_is_told_with_its_waves() {
    let rolls = "do: roll-out, waves: [\"edge=eu-west-1\", [\"region=eu-west\", \"edge=us-east-1\"]], bake: 20s";
    let drill = Drill::read("drill.yaml", &changed("do: revoke", rolls)).unwrap_or_else(|wrong| panic!("{wrong}"));
    let plan = drill.plan();
    let step = plan.steps.iter().find(|step| step.does == "roll-out").unwrap();
    let waves = ["edge=eu-west-1 for 20s", "edge=us-east-1 and region=eu-west for 20s", "role=edge for 20s"];
    assert_eq!(step.targets, waves);
}
