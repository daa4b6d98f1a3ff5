//! A gate report as JUnit XML, which most CI systems display.

use super::regress::GateReport;
use super::text::line_text;
use crate::report::xml;
use crate::stats::RunVerdict;

/// Counts of tests, failures and skipped tests.
type Counts = [usize; 3];

fn counts([tests, failures, skipped]: Counts) -> String {
    format!("tests=\"{tests}\" failures=\"{failures}\" skipped=\"{skipped}\"")
}

fn case(class: &str, name: &str, outcome: &str) -> String {
    format!("    <testcase classname=\"{}\" name=\"{}\">{outcome}</testcase>\n", xml(class), xml(name))
}

fn failure(kind: &str, message: &str) -> String {
    format!("<failure type=\"{kind}\" message=\"{}\"/>", xml(message))
}

/// One test suite per group that gates, one test case per quantity.
pub fn junit_xml(report: &GateReport) -> String {
    let mut suites: Vec<(&str, String, Counts)> = Vec::new();
    for group in report.groups.iter().filter(|group| group.gates) {
        let mut cases = String::new();
        for line in &group.lines {
            let text = line_text(group, line);
            let outcome = match line.change.verdict {
                RunVerdict::Worse => failure("worse", &text),
                _ => format!("<system-out>{}</system-out>", xml(&text)),
            };
            cases.push_str(&case(group.name, &format!("{} {}", line.subject, line.quantity), &outcome));
        }
        cases.extend(group.not_tested.iter().map(|why| case(group.name, why, "<skipped/>")));
        let skipped = group.not_tested.len();
        suites.push((group.name, cases, [group.lines.len() + skipped, group.failures().count(), skipped]));
    }
    if !report.missing.is_empty() {
        let cases = report.missing.iter().map(|cell| case("missing", cell, &failure("missing", cell)));
        let n = report.missing.len();
        suites.push(("missing", cases.collect(), [n, n, 0]));
    }
    let total = [0, 1, 2].map(|place| suites.iter().map(|(_, _, counts)| counts[place]).sum());
    let suites: String = suites
        .into_iter()
        .map(|(name, cases, of_suite)| {
            format!("  <testsuite name=\"{}\" {}>\n{cases}  </testsuite>\n", xml(name), counts(of_suite))
        })
        .collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"{}\" {}>\n{suites}</testsuites>\n",
        xml(&format!("autointerp regress {}", report.suite)),
        counts(total)
    )
}
