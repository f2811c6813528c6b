//! Cedar's errors as faults with a place.

use miette::Diagnostic;

use crate::policy::fault::{PolicyFault, Source};

/// A fault for one of Cedar's errors, at the first place that it labels.
pub(super) fn labelled(source: &Source<'_>, error: &dyn Diagnostic) -> PolicyFault {
    let at = error.labels().and_then(|mut labels| labels.next()).map_or(0, |label| label.offset());
    PolicyFault { help: error.help().map(|help| help.to_string()), ..source.fault(at, with_causes(error)) }
}

/// A fault for an error about entities: those carry no place, but name the entity, which stands in the file.
pub(super) fn quoted_place(source: &Source<'_>, error: &dyn Diagnostic) -> PolicyFault {
    let message = with_causes(error);
    let quoted = message.split('"').skip(1).step_by(2).filter(|name| !name.is_empty());
    let at = quoted.filter_map(|name| source.text.find(&format!("\"{name}\""))).next().unwrap_or(0);
    PolicyFault { help: error.help().map(|help| help.to_string()), ..source.fault(at, message) }
}

/// A fault of the whole file.
pub(super) fn whole(source: &Source<'_>, message: impl Into<String>) -> PolicyFault {
    source.fault(0, message)
}

fn with_causes(error: &dyn Diagnostic) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let text = next.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        cause = next.source();
    }
    message
}
