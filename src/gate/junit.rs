//! A gate report as JUnit XML, which most systems of continuous integration show.

use super::regress::GateReport;
use super::text::line_text;
use crate::report::xml;
use crate::stats::RunVerdict;

/// One test suite per group, one test case per quantity; what does not gate is left out.
pub fn junit_xml(report: &GateReport) -> String {
    let mut suites = String::new();
    let (mut tests, mut failures, mut skipped) = (0, 0, 0);
    for group in report.groups.iter().filter(|group| group.gates) {
        let mut cases = String::new();
        let worse = group.failures().count();
        for line in &group.lines {
            let name = xml(&format!("{} {}", line.subject, line.quantity));
            let says = xml(&line_text(group, line));
            let outcome = match line.change.verdict {
                RunVerdict::Worse => format!("<failure type=\"worse\" message=\"{says}\"/>"),
                _ => format!("<system-out>{says}</system-out>"),
            };
            cases.push_str(&format!(
                "    <testcase classname=\"{}\" name=\"{name}\">{outcome}</testcase>\n",
                xml(group.name)
            ));
        }
        for why in &group.not_tested {
            cases.push_str(&format!(
                "    <testcase classname=\"{}\" name=\"{}\"><skipped/></testcase>\n",
                xml(group.name),
                xml(why)
            ));
        }
        let (n, left_out) = (group.lines.len() + group.not_tested.len(), group.not_tested.len());
        suites.push_str(&format!(
            "  <testsuite name=\"{}\" tests=\"{n}\" failures=\"{worse}\" skipped=\"{left_out}\">\n{cases}  </testsuite>\n",
            xml(group.name)
        ));
        (tests, failures, skipped) = (tests + n, failures + worse, skipped + left_out);
    }
    if !report.missing.is_empty() {
        let n = report.missing.len();
        let cases: String = report
            .missing
            .iter()
            .map(|missing| {
                let says = xml(missing);
                format!("    <testcase classname=\"missing\" name=\"{says}\"><failure type=\"missing\" message=\"{says}\"/></testcase>\n")
            })
            .collect();
        suites.push_str(&format!("  <testsuite name=\"missing\" tests=\"{n}\" failures=\"{n}\" skipped=\"0\">\n{cases}  </testsuite>\n"));
        (tests, failures) = (tests + n, failures + n);
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"{}\" tests=\"{tests}\" failures=\"{failures}\" skipped=\"{skipped}\">\n{suites}</testsuites>\n",
        xml(&format!("autointerp regress {}", report.suite))
    )
}
