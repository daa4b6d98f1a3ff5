//! What is generated and committed equals what the code generates now.

use std::fs;
use std::path::Path;

use autointerp::suite::reference;
use autointerp::{cli, cluster};

const MARK: &str =
    "<!-- generated below this line; refresh with AUTOINTERP_REFRESH=1 cargo test --release committed -->\n";

/// Asserts that a committed file is what the code gives now, or writes it where a refresh is asked for.
pub fn compare(path: &Path, expected: &str) {
    if std::env::var_os("AUTOINTERP_REFRESH").is_some() {
        autointerp::base::write_atomic(path, expected.as_bytes()).expect("refreshed");
    }
    let found = fs::read_to_string(path).expect("committed file");
    assert!(
        found == expected,
        "{} is out of date: AUTOINTERP_REFRESH=1 cargo test --release committed",
        path.display()
    );
}

#[test]
fn committed_field_reference_matches_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/README.md");
    let found = fs::read_to_string(&path).expect("suites/README.md");
    let (head, _) = found.split_once(MARK).expect("the mark above the generated part");
    compare(&path, &format!("{head}{MARK}{}{}", reference::reference(), cluster::reference()));
}

#[test]
fn committed_schema_matches_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/suite.schema.json");
    let text = serde_json::to_string_pretty(&reference::schema()).expect("JSON") + "\n";
    compare(&path, &text);
}

#[test]
fn committed_schemas_of_results_match_the_code() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/schemas");
    let schemas = cli::schemas();
    for (name, schema) in &schemas {
        let text = serde_json::to_string_pretty(schema).expect("JSON") + "\n";
        compare(&folder.join(format!("{name}.schema.json")), &text);
    }
    assert_eq!(fs::read_dir(&folder).expect("results/schemas").count(), schemas.len(), "a schema of nothing");
}

#[test]
fn committed_suites_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites");
    let mut seen = 0;
    for entry in fs::read_dir(&folder).expect("suites/") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let suite = autointerp::suite::load(&path, &[]).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(Some(suite.name.as_str()), path.file_stem().and_then(|stem| stem.to_str()));
            seen += 1;
        }
    }
    assert!(seen >= 6, "only {seen} suites");
}
