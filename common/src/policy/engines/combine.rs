//! From answers to a verdict, for all engines alike.
//!
//! Deny overrides over {permit, forbid, not applicable, error}: a call may go on if something permits each of its
//! questions, nothing forbids any, and nothing that could have forbidden failed. A permit that failed is absent, and is
//! named. This is stricter than Cedar by itself, which skips a forbid that fails. Clause P-41.

use super::{Answer, Matched};

/// How the answers of engines become one, as the signed manifest names it (B-8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Combination {
    /// A permit of any engine, and a forbid of none.
    #[default]
    AnyPermit,
}

impl Combination {
    /// As manifests spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AnyPermit => "any-permit",
        }
    }
}

/// Everything that was said about one call: the acting agent's questions, one by one, and those of everybody for whom
/// only forbids count.
#[derive(Debug, Default)]
pub struct Hearing {
    all: Answer,
    asked: usize,
    unpermitted: Option<usize>,
}

/// Why a verdict is not a permit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Against {
    /// These forbid.
    Forbidden(Matched),
    /// These could have forbidden, and failed.
    Failed {
        /// Which.
        policies: Matched,
        /// How the first of them did.
        why: String,
    },
    /// Nothing permits.
    Unpermitted {
        /// Which question has no permit, counted from 0; none when nothing was asked at all.
        question: Option<usize>,
        /// Permits that failed.
        failed: Matched,
        /// How the first of them did.
        why: Option<String>,
    },
}

impl Hearing {
    /// Takes an answer of which only the forbids count.
    pub fn take_forbids(&mut self, answer: Answer) {
        let Answer { forbids, permits: _, failed_forbids, failed_permits: _, failure } = answer;
        let failure = failure.filter(|_| !failed_forbids.is_empty());
        self.all.join(Answer { forbids, failed_forbids, failure, ..Answer::default() });
    }

    /// Takes the answer to the acting agent's next question.
    pub fn take(&mut self, answer: Answer) {
        if answer.permits.is_empty() {
            self.unpermitted = self.unpermitted.or(Some(self.asked));
        }
        self.asked += 1;
        self.all.join(answer);
    }

    /// Whether permits no longer matter.
    #[must_use]
    pub fn denies(&self) -> bool {
        self.all.denies()
    }

    /// The permits, if there are enough of them and nothing against it.
    ///
    /// # Errors
    /// [`Against`].
    pub fn verdict(self, combination: Combination) -> Result<Matched, Against> {
        let Combination::AnyPermit = combination;
        let Self { all, asked, unpermitted } = self;
        let Answer { forbids, permits, failed_forbids, failed_permits, failure } = all;
        if !forbids.is_empty() {
            return Err(Against::Forbidden(forbids));
        }
        if !failed_forbids.is_empty() {
            return Err(Against::Failed { policies: failed_forbids, why: failure.unwrap_or_default() });
        }
        match unpermitted {
            None if asked > 0 => Ok(permits),
            question => Err(Against::Unpermitted { question, failed: failed_permits, why: failure }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Ask, Engine, Heard, Outcome};
    use super::*;
    use crate::id::PolicyId;

    /// An engine whose rules say what they are told to.
    struct Scripted<'s>(&'s [Outcome]);

    impl Engine for Scripted<'_> {
        type Question<'q> = ();
        fn judge(&self, (): &(), heard: &mut Heard) {
            let is_permit =
                |outcome: &Outcome| matches!(outcome, Outcome::Permit | Outcome::Error { could_forbid: false, .. });
            for last in [false, true] {
                for (number, outcome) in self.0.iter().enumerate().filter(|(_, outcome)| is_permit(outcome) == last) {
                    if !last || heard.wants_permits() {
                        heard.say(&PolicyId::new(&format!("r{number}")).expect("id"), outcome.clone());
                    }
                }
            }
        }
    }

    fn outcomes() -> [Outcome; 5] {
        let error = |could_forbid| Outcome::Error { could_forbid, why: "no such attribute".to_owned() };
        [Outcome::Permit, Outcome::Forbid, Outcome::NotApplicable, error(true), error(false)]
    }

    fn count(rules: &[Outcome], wanted: &Outcome) -> u32 {
        u32::try_from(rules.iter().filter(|rule| *rule == wanted).count()).expect("few")
    }

    fn verdict(rules: &[Outcome], ask: Ask) -> Result<Matched, Against> {
        let mut hearing = Hearing::default();
        hearing.take(Scripted(rules).ask(&(), ask));
        hearing.verdict(Combination::AnyPermit)
    }

    /// What P-41 says, in its own words.
    fn check(rules: &[Outcome]) -> &'static str {
        let [permit, forbid, _, failed_forbid, failed_permit] = outcomes();
        for ask in [Ask::Decision, Ask::Everything] {
            let found = verdict(rules, ask);
            let total = |matched: &Matched| matched.total;
            match &found {
                Err(Against::Forbidden(by)) => assert_eq!(total(by), count(rules, &forbid), "{rules:?}"),
                Err(Against::Failed { policies, why }) => {
                    assert_eq!(
                        (total(policies), count(rules, &forbid)),
                        (count(rules, &failed_forbid), 0),
                        "{rules:?}"
                    );
                    assert!(why.contains("no such attribute"), "{why}");
                }
                Err(Against::Unpermitted { question, failed, why }) => {
                    assert_eq!((*question, total(failed)), (Some(0), count(rules, &failed_permit)), "{rules:?}");
                    assert_eq!(why.is_some(), total(failed) > 0, "an absent permit is reported: {rules:?}");
                }
                Ok(permits) => assert_eq!(total(permits), count(rules, &permit), "{rules:?}"),
            }
            let expected = if rules.contains(&forbid) {
                "forbidden"
            } else if rules.contains(&failed_forbid) {
                "failed"
            } else if rules.contains(&permit) {
                "permit"
            } else {
                "unpermitted"
            };
            assert_eq!(word(&found), expected, "{rules:?}");
        }
        word(&verdict(rules, Ask::Decision))
    }

    fn word(verdict: &Result<Matched, Against>) -> &'static str {
        match verdict {
            Ok(_) => "permit",
            Err(Against::Forbidden(_)) => "forbidden",
            Err(Against::Failed { .. }) => "failed",
            Err(Against::Unpermitted { .. }) => "unpermitted",
        }
    }

    #[test]
    fn p_41_the_truth_table_of_up_to_three_rules() {
        let all = outcomes();
        let mut words = std::collections::BTreeMap::<&str, usize>::new();
        *words.entry(check(&[])).or_default() += 1;
        for first in &all {
            *words.entry(check(std::slice::from_ref(first))).or_default() += 1;
            for second in &all {
                *words.entry(check(&[first.clone(), second.clone()])).or_default() += 1;
                for third in &all {
                    *words.entry(check(&[first.clone(), second.clone(), third.clone()])).or_default() += 1;
                }
            }
        }
        // 1 + 5 + 25 + 125 rows, most of which deny.
        assert_eq!(words, [("failed", 45), ("forbidden", 71), ("permit", 25), ("unpermitted", 15)].into());
    }

    #[test]
    fn nothing_asked_is_nothing_permitted() {
        let nothing = Against::Unpermitted { question: None, failed: Matched::default(), why: None };
        assert_eq!(Hearing::default().verdict(Combination::AnyPermit), Err(nothing));
    }

    #[test]
    fn a_permit_for_somebody_else_permits_nothing() {
        let mut hearing = Hearing::default();
        hearing.take_forbids(Scripted(&[Outcome::Permit]).ask(&(), Ask::Everything));
        hearing.take(Answer::default());
        assert_eq!(word(&hearing.verdict(Combination::AnyPermit)), "unpermitted");
    }

    fn rules() -> impl Strategy<Value = Vec<Outcome>> {
        let one = prop::sample::select(vec![0usize, 0, 0, 1, 2, 2, 4, 3]).prop_map(|at| outcomes()[at].clone());
        prop::collection::vec(one, 0..6)
    }

    proptest! {
        #[test]
        fn order_changes_nothing_and_more_forbids_never_permit(
            rules in rules(), shuffle in any::<prop::sample::Index>(), more in prop::sample::select(vec![1usize, 3]),
        ) {
            let found = word(&verdict(&rules, Ask::Decision));
            let mut turned = rules.clone();
            turned.rotate_left(if rules.is_empty() { 0 } else { shuffle.index(rules.len()) });
            prop_assert_eq!(word(&verdict(&turned, Ask::Decision)), found);
            turned.push(outcomes()[more].clone());
            prop_assert_ne!(word(&verdict(&turned, Ask::Decision)), "permit");
        }

        #[test]
        fn every_question_needs_its_permit(questions in prop::collection::vec(rules(), 1..4), others in rules()) {
            let mut hearing = Hearing::default();
            hearing.take_forbids(Scripted(&others).ask(&(), Ask::Forbids));
            questions.iter().for_each(|rules| hearing.take(Scripted(rules).ask(&(), Ask::Decision)));
            let against = |rules: &[Outcome]| rules.iter().any(|rule| {
                matches!(rule, Outcome::Forbid | Outcome::Error { could_forbid: true, .. })
            });
            let is_permitted = questions.iter().all(|rules| rules.contains(&Outcome::Permit) && !against(rules))
                && !against(&others);
            prop_assert_eq!(hearing.verdict(Combination::AnyPermit).is_ok(), is_permitted);
        }
    }
}
