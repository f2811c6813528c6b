//! The waves of a rollout as they are written on the command line: `edge:e17+edge:e18@5m,region:eu-west,25%,100%`.

use std::time::Duration;

use remit_common::bundle::{Gates, RolloutPlan, Wave};
use remit_common::trust::scope::PER_MILLE_ALL;

use crate::failure::{Exit, Failure};

/// How to write it, for whoever did not.
const HOW: &str = "waves are separated by commas: `edge:e17+edge:e18`, `region:eu-west`, `25%`; `@10m` after one is how \
                   long it bakes; the last is `100%`, and is added where it is missing";

/// How a bundle is to reach the edges.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Waves {
    /// Let it come to the edges in waves, and take it back by itself when a gate closes: `edge:e17,region:eu-west,25%`
    #[arg(long, value_name = "WAVES")]
    waves: Option<String>,
    /// How long a wave has to hold before the next begins: `90s`, `10m`, `2h`
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration, requires = "waves")]
    bake: Duration,
    /// Share of the edges that may refuse it before it is taken back
    #[arg(long, value_name = "PERCENT", value_parser = per_mille, requires = "waves")]
    max_refused: Option<u16>,
    /// Share of the permitted calls that it may deny: 1% unless said otherwise
    #[arg(long, value_name = "PERCENT", value_parser = per_mille, requires = "waves")]
    max_newly_denied: Option<u16>,
    /// Denied calls that it may permit: none, or any number with --approve-widening
    #[arg(long, value_name = "COUNT", requires = "waves")]
    max_newly_permitted: Option<u64>,
    /// Share of the decisions in which a rule of it may fail: 0.1% unless said otherwise
    #[arg(long, value_name = "PERCENT", value_parser = per_mille, requires = "waves")]
    max_failed: Option<u16>,
    /// Milliseconds that one of a hundred of its decisions may take longer than: 50 unless said otherwise
    #[arg(long, value_name = "MILLIS", requires = "waves")]
    max_p99_ms: Option<u64>,
}

impl Waves {
    /// The plan, if the bundle is to come in waves.
    ///
    /// # Errors
    /// What is wrong with it, and how it is written.
    pub(super) fn plan(&self, approves_widening: bool) -> Result<Option<RolloutPlan>, Failure> {
        let Some(text) = &self.waves else { return Ok(None) };
        let wrong = |why: String| Failure::new(Exit::Usage, why).hint(HOW);
        let mut waves = text.split(',').map(|text| wave(text.trim(), self.bake)).collect::<Result<Vec<_>, _>>();
        if let Ok(waves) = &mut waves
            && waves.last().is_none_or(|last| last.per_mille < PER_MILLE_ALL)
        {
            waves.push(Wave { per_mille: PER_MILLE_ALL, bake_ms: millis(self.bake), ..Wave::default() });
        }
        let usual = Gates::default();
        let permitted = if approves_widening { None } else { usual.newly_permitted };
        let gates = Gates {
            refused_per_mille: self.max_refused.unwrap_or(usual.refused_per_mille),
            newly_denied_per_mille: self.max_newly_denied.unwrap_or(usual.newly_denied_per_mille),
            newly_permitted: self.max_newly_permitted.or(permitted),
            failed_per_mille: self.max_failed.unwrap_or(usual.failed_per_mille),
            p99_ms: self.max_p99_ms.or(usual.p99_ms),
        };
        let plan = RolloutPlan { waves: waves.map_err(wrong)?, gates };
        plan.check().map_err(|error| wrong(format!("`--waves {text}`: {error}")))?;
        Ok(Some(plan))
    }
}

/// A length of time, as people write it.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| format!("`{text}` is no length of time: `90s`, `10m`, `2h`"))
}

/// `12.5%`, in thousands.
fn per_mille(text: &str) -> Result<u16, String> {
    let wrong = || format!("`{text}` is no share: `25%`, `0.1%`");
    let number = text.strip_suffix('%').ok_or_else(wrong)?;
    let (whole, tenths) = number.split_once('.').unwrap_or((number, "0"));
    let whole: u16 = whole.parse().map_err(|_| wrong())?;
    let tenths: u16 = tenths.parse().ok().filter(|_| tenths.len() == 1).ok_or_else(wrong)?;
    let share = whole.checked_mul(10).and_then(|share| share.checked_add(tenths)).ok_or_else(wrong)?;
    if share > PER_MILLE_ALL { Err(wrong()) } else { Ok(share) }
}

fn wave(text: &str, bake: Duration) -> Result<Wave, String> {
    let (whom, bake) = match text.rsplit_once('@') {
        Some((whom, bake)) => (whom, duration(bake)?),
        None => (text, bake),
    };
    let mut wave = Wave { bake_ms: millis(bake), ..Wave::default() };
    for item in whom.split('+').map(str::trim) {
        match item.split_once(':') {
            Some(("edge", id)) => {
                let id = id.parse().map_err(|error| format!("`{item}`: {error}"))?;
                wave.edges.insert(id);
            }
            Some(("region", name)) => {
                let name = name.parse().map_err(|error| format!("`{item}`: {error}"))?;
                wave.regions.insert(name);
            }
            _ if item.ends_with('%') => wave.per_mille = per_mille(item)?,
            _ => return Err(format!("`{item}` is no wave")),
        }
    }
    Ok(wave)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(waves: &str) -> Result<RolloutPlan, String> {
        let waves = Waves {
            waves: Some(waves.to_owned()),
            bake: Duration::from_secs(600),
            max_refused: None,
            max_newly_denied: None,
            max_newly_permitted: None,
            max_failed: None,
            max_p99_ms: None,
        };
        waves.plan(false).map(|plan| plan.unwrap()).map_err(|failure| failure.message)
    }

    #[test]
    fn waves_are_read_as_they_are_written() {
        let read = plan("edge:e17+edge:e18@90s, region:eu-west ,12.5%").unwrap();
        let whom: Vec<(usize, usize, u16, u64)> = read
            .waves
            .iter()
            .map(|wave| (wave.edges.len(), wave.regions.len(), wave.per_mille, wave.bake_ms / 1_000))
            .collect();
        assert_eq!(whom, [(2, 0, 0, 90), (0, 1, 0, 600), (0, 0, 125, 600), (0, 0, 1_000, 600)]);
        assert_eq!(plan("100%@1h").unwrap().waves.len(), 1);
    }

    #[test]
    fn what_is_no_wave_is_refused_with_the_word() {
        for (text, word) in [
            ("e17", "`e17`"),
            ("edge:", "`edge:`"),
            ("25", "`25`"),
            ("101%", "101%"),
            ("0%", "for some edge"),
            ("1.25%", "1.25%"),
            ("edge:e1@-5m", "-5m"),
            ("edge:e1@8d", "seven days"),
            ("", "``"),
        ] {
            let why = plan(text).unwrap_err();
            assert!(why.contains(word), "{text}: {why}");
        }
    }
}
