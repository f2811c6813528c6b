//! What other tools read of a run: JUnit's XML, one suite per file, one case per cell.

use std::fmt::Write as _;

use super::run::CellResult;

/// The results as JUnit's XML, for pipelines. There are no times in it: the same run gives the same bytes.
#[must_use]
pub fn junit(name: &str, results: &[CellResult<'_>]) -> String {
    let failed = |results: &[&CellResult<'_>]| results.iter().filter(|result| !result.passed()).count();
    let all: Vec<&CellResult<'_>> = results.iter().collect();
    let mut files: Vec<&str> = results.iter().map(|result| result.cell.file.as_str()).collect();
    files.sort_unstable();
    files.dedup();
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"{}\" tests=\"{}\" failures=\"{}\">\n",
        escaped(name),
        all.len(),
        failed(&all)
    );
    for file in files {
        let of_file: Vec<_> = results.iter().filter(|result| result.cell.file == file).collect();
        let _ = writeln!(
            xml,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\">",
            escaped(file),
            of_file.len(),
            failed(&of_file)
        );
        for result in of_file {
            let (class, name) = (escaped(&result.cell.case), escaped(&result.cell.cell));
            let at = format!("file=\"{}\" line=\"{}\"", escaped(file), result.cell.line);
            let _ = write!(xml, "    <testcase classname=\"{class}\" name=\"{name}\" {at}");
            if result.passed() {
                xml.push_str("/>\n");
            } else {
                let message = escaped(&result.differences.join("; "));
                let detail = result.verdict.as_ref().map_or_else(Clone::clone, |verdict| verdict.detail.clone());
                let _ = writeln!(xml, "><failure message=\"{message}\">{}</failure></testcase>", escaped(&detail));
            }
        }
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML 1.0 has no way to say these.
            c if c.is_control() && c != '\n' && c != '\t' => out.push('\u{fffd}'),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
