use maud::Render as _;

use super::sample::{HOSTILE, bad, good};
use super::*;
use crate::drill::outcome::{Conclusion, RunStatus, Unable};
use crate::invariant::Invariant;

fn page_of(drill: &DrillOutcome) -> String {
    page::page(&View::of(drill))
}

fn junit_of(drill: &DrillOutcome) -> String {
    junit::junit(&View::of(drill)).unwrap()
}

/// For looking at: writes the samples into the folder that `REMIT_REPORT_SAMPLES` names.
#[test]
#[expect(clippy::disallowed_methods, reason = "a person asks for the files of this test")]
fn samples_can_be_looked_at() {
    let env = remit_common::net::real::real();
    let temporary = tempfile::tempdir().unwrap();
    let wanted = std::env::var_os("REMIT_REPORT_SAMPLES").map(PathBuf::from);
    let folder = wanted.as_deref().unwrap_or(temporary.path());
    for (name, drill) in [("good", good()), ("bad", bad()), ("skipped", skipped())] {
        let files = write(&drill, &Folder::create(&env, &folder.join(name)).unwrap()).unwrap();
        for file in [&files.report, &files.journal, &files.junit, &files.history] {
            assert!(file.is_file(), "{}", file.display());
        }
    }
}

fn skipped() -> DrillOutcome {
    let mut drill = good();
    drill.status = RunStatus::Skipped;
    drill.judgement = None;
    drill.context = None;
    drill.events.clear();
    drill.activities.clear();
    drill.before = None;
    drill.after = None;
    drill.unable = vec![Unable { step: "Move a clock".to_owned(), reason: "libfaketime is not installed".to_owned() }];
    drill
}

#[test]
fn the_same_drill_gives_the_same_bytes() {
    assert_eq!(page_of(&good()), page_of(&good()));
    assert_eq!(junit_of(&bad()), junit_of(&bad()));
    assert_eq!(journal::journal(&View::of(&bad())).unwrap(), journal::journal(&View::of(&bad())).unwrap());
}

#[test]
fn the_page_needs_nothing_from_anywhere_and_runs_nothing() {
    for page in [page_of(&good()), page_of(&bad())] {
        for tag in ["<script", "<link", "<img", "<iframe", "<object", "src=", "@import", " onload", " onclick"] {
            assert!(!page.contains(tag), "{tag}");
        }
        let elsewhere: Vec<_> = page.match_indices("http").map(|(at, _)| &page[at..at + 30]).collect();
        let harmless = |text: &&str| text.starts_with("http://www.w3.org/2000/svg") || text.starts_with("http-equiv");
        assert!(elsewhere.iter().all(harmless), "{elsewhere:?}");
        assert!(page.len() < 2_000_000, "{} bytes", page.len());
    }
}

#[test]
fn every_fault_promise_and_step_is_on_the_page() {
    let drill = good();
    let page = page_of(&drill);
    let lane = page.split("id=\"lane-faults\"").nth(1).unwrap().split("</figure>").next().unwrap();
    let wide = lane.split("<svg class=\"draw wide\"").nth(1).unwrap().split("</svg>").next().unwrap();
    let outages = &drill.judgement.as_ref().unwrap().figures.outages;
    assert_eq!(wide.matches("class=\"one-fault\"").count(), outages.len());
    assert_eq!(outages.len(), 4);
    for label in [
        "killed · voter\u{a0}1",
        "network cut · every edge of eu-west ↔ every voter",
        "clock jump · us-east-2",
        "disk full · voter\u{a0}2",
    ] {
        assert!(wide.contains(label), "{label}");
    }
    for invariant in Invariant::ALL {
        let judged = drill.judgement.as_ref().unwrap().verdict(invariant).is_some();
        assert_eq!(page.contains(&format!("id=\"promise-{invariant}\"")), judged, "{invariant}");
    }
    for activity in &drill.activities {
        assert!(page.contains(&activity.name));
    }
    for lane in ["voters", "bundles", "staleness", "decisions", "refusals", "latency"] {
        assert!(page.contains(&format!("id=\"lane-{lane}\"")), "{lane}");
    }
    assert!(page.contains(&drill.reproduce));
}

#[test]
fn texts_that_mean_harm_are_only_texts() {
    let drill = bad();
    let page = page_of(&drill);
    assert!(page.contains("&lt;script&gt;"));
    assert!(!page.contains("<script>") && !page.contains("alert('1')</script>"));
    assert!(!page.contains('\u{1}'));
    let text = terminal::text(&drill, None);
    assert!(!text.contains('\u{1}'));
    assert!(junit_of(&drill).contains("Everything goes wrong"));
}

/// The tags of well-formed XML, in order; panics where it is not.
fn check_xml(xml: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = xml;
    while let Some(at) = rest.find('<') {
        assert!(
            !rest[..at].contains('>') || open.is_empty() || rest[..at].matches('>').count() == 0,
            "{}",
            &rest[..at]
        );
        let end = rest[at..].find('>').expect("a tag ends") + at;
        let tag = &rest[at + 1..end];
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        match tag.chars().next() {
            Some('?') => {}
            Some('/') => assert_eq!(open.pop(), Some(&tag[1..])),
            _ if tag.ends_with('/') => {}
            _ => open.push(tag.split_whitespace().next().unwrap()),
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn drawings_and_results_are_well_formed_xml() {
    for drill in [good(), bad(), skipped()] {
        let page = page_of(&drill);
        let mut drawings = 0;
        for svg in page.split("<svg").skip(1) {
            let svg = svg.split("</svg>").next().unwrap();
            check_xml(&format!("<svg{svg}</svg>"));
            drawings += 1;
        }
        assert!(drawings > 0);
        check_xml(&junit_of(&drill));
        serde_json::from_str::<serde_json::Value>(&journal::journal(&View::of(&drill)).unwrap()).unwrap();
    }
}

#[test]
fn drawings_have_names_and_descriptions() {
    let page = page_of(&good());
    let drawings: Vec<_> = page.split("<svg class=\"draw").skip(1).collect();
    assert_eq!(drawings.len(), 7 * 3);
    for drawing in drawings {
        assert!(drawing.contains("role=\"img\"") && drawing.contains("<desc id="));
    }
    let mut ids: Vec<_> =
        page.match_indices(" id=\"").map(|(at, _)| page[at + 5..].split('"').next().unwrap()).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "an id stands twice");
}

#[test]
fn a_pipeline_sees_what_failed_and_what_was_skipped() {
    let count = |xml: &str, what: &str| xml.matches(what).count();
    let xml = junit_of(&bad());
    assert!(xml.contains("<skipped message=\"libfaketime is not installed here\""));
    assert!(xml.contains("type=\"violated\"") && xml.contains("type=\"limit\"") && xml.contains("type=\"step\""));
    assert!(xml.contains("nothing measured it"));
    let xml = junit_of(&good());
    assert_eq!(count(&xml, "<failure") + count(&xml, "<error"), 0);
    let mut vacuous = good();
    let missing = invariant_missing();
    vacuous.judgement.as_mut().unwrap().vacuous = Some(missing);
    assert_eq!(vacuous.conclusion(), Conclusion::Vacuous);
    assert!(junit_of(&vacuous).contains("<error message=\"too little happened: 3 calls of at least 50\""));
}

fn invariant_missing() -> crate::invariant::Vacuous {
    crate::invariant::Vacuous {
        missing: vec![crate::invariant::Missing { what: "calls".to_owned(), seen: 3, least: 50 }],
    }
}

#[test]
fn the_journal_has_what_chaos_toolkit_promises() {
    let document: serde_json::Value = serde_json::from_str(&journal::journal(&View::of(&bad())).unwrap()).unwrap();
    for member in ["experiment", "status", "deviated", "start", "end", "duration", "steady_states", "run", "rollbacks"]
    {
        assert!(document.get(member).is_some(), "{member}");
    }
    assert_eq!(document["status"], "completed");
    assert_eq!(document["deviated"], true);
    assert_eq!(document["run"][0]["activity"]["name"], "Kill the leader");
    assert_eq!(document["run"].as_array().unwrap().len(), 5);
    assert_eq!(document["rollbacks"].as_array().unwrap().len(), 1);
    assert_eq!(document["steady_states"]["after"]["steady_state_met"], false);
    assert_eq!(document["x-remit"]["seed"], 7);
}

#[test]
fn the_terminal_says_the_verdict_first_and_the_command_last() {
    let text = terminal::text(&good(), None);
    let mut lines = text.lines().skip(1);
    assert_eq!(lines.next(), Some("Passed"));
    assert!(text.lines().last().unwrap().ends_with(&good().reproduce));
    assert!(text.is_ascii() || text.chars().all(|character| !matches!(character, '\u{a0}' | '\u{202f}')));
    let text = terminal::text(&bad(), None);
    assert!(text.contains("BROKEN    V1 ") && text.contains("and 210 more") && text.contains("skipped   Move a clock"));
    let document = serde_json::to_value(terminal::document(&bad(), None)).unwrap();
    assert_eq!(document["conclusion"], "deviated");
    assert_eq!(document["violated"], 1);
}

#[test]
fn a_long_run_stays_a_small_page() {
    let mut drill = good();
    let once = drill.events.clone();
    let length = once.last().unwrap().time_us + 1_000_000;
    for round in 1..20u64 {
        let offset = drill.events.len();
        drill.events.extend(once.iter().cloned().map(|mut event| {
            event.time_us += round * length;
            event.index += u64::try_from(offset).unwrap();
            event
        }));
    }
    drill.judgement = Some(crate::invariant::check(&drill.events, drill.context.as_ref().unwrap()));
    let page = page_of(&drill);
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    assert!(page.contains("more fault") || page.matches("class=\"one-fault\"").count() == 3 * 80);
}

#[test]
fn hostile_names_of_the_sample_are_really_hostile() {
    assert_ne!(maud::PreEscaped(HOSTILE).render().into_string(), HOSTILE.render().into_string());
}
