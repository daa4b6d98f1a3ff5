use super::*;

fn config(json: &str) -> Config {
    Config::parse(json.as_bytes(), "config.json").expect("an object")
}

fn read(json: &str, d_head: usize) -> Result<Rotary, NnError> {
    Rotary::of(&config(json), d_head, ("partial_rotary_factor", 1.0), "rope_theta")
}

fn close(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-9 * b.abs())
}

#[test]
fn frequencies_fall_geometrically_from_one() {
    let rotary = read(r#"{"rope_theta": 16.0}"#, 8).expect("fits");
    assert!(close(&rotary.frequencies, &[1.0, 0.5, 0.25, 0.125]), "{:?}", rotary.frequencies);
    assert_eq!((rotary.dims(), rotary.amplitude, rotary.longest(100)), (8, 1.0, 100));
}

#[test]
fn dynamic_scaling_begins_beyond_the_longest_sequence_and_grows_from_there() {
    let json = r#"{"rope_theta": 16.0, "max_position_embeddings": 10,
                   "rope_scaling": {"type": "dynamic", "factor": 3.0}}"#;
    let rotary = read(json, 4).expect("fits");
    let plain = read(r#"{"rope_theta": 16.0}"#, 4).expect("fits").frequencies;
    assert_eq!(rotary.frequencies_of(10), plain);
    // At twice the length: base · (3 · 2 − 2)^(4 / 2) = 16 · 16.
    assert!(close(&rotary.frequencies_of(20), &[1.0, 1.0 / 16.0]));
    assert_eq!([5, 10, 11, 20].map(|length| rotary.regime(length)), [0, 0, 11, 20]);
    assert!(rotary.keeps_keys(10, 20) && rotary.longest(10) == 30);
}

#[test]
fn yarn_keeps_fast_pairs_and_slows_the_rest_by_the_factor() {
    let json = r#"{"rope_theta": 10000.0, "max_position_embeddings": 4096,
                   "rope_scaling": {"type": "yarn", "factor": 8.0, "original_max_position_embeddings": 4096}}"#;
    let (rotary, plain) = (read(json, 128).expect("fits"), Rotary::plain(128, 10_000.0));
    let slowed: Vec<f64> =
        rotary.frequencies.iter().zip(&plain.frequencies).map(|(slow, plain)| plain / slow).collect();
    assert_eq!((slowed[0], slowed[63].round()), (1.0, 8.0));
    assert!(slowed.windows(2).all(|pair| pair[0] <= pair[1] + 1e-12), "{slowed:?}");
    assert!((rotary.amplitude - (0.1 * 8.0_f64.ln() + 1.0)).abs() < 1e-12);
}

#[test]
fn longrope_has_two_sets_of_factors_and_keys_do_not_carry_over() {
    let json = r#"{"rope_theta": 16.0, "max_position_embeddings": 64, "rope_scaling": {"type": "su",
                   "original_max_position_embeddings": 16, "short_factor": [1, 2], "long_factor": [4, 8]}}"#;
    let rotary = read(json, 4).expect("fits");
    assert!(close(&rotary.frequencies_of(16), &[1.0, 0.125]));
    assert!(close(&rotary.frequencies_of(17), &[0.25, 0.03125]));
    assert!((rotary.amplitude - 1.5_f64.sqrt()).abs() < 1e-12, "1 + ln 4 / ln 16");
    assert!(rotary.keeps_keys(10, 16) && rotary.keeps_keys(17, 64) && !rotary.keeps_keys(16, 17));
}

#[test]
fn contradictory_places_are_refused_and_sections_override_the_top_level() {
    let inner = read(r#"{"rope_theta": 100.0, "rope_parameters": {"rope_theta": 16.0}}"#, 8).expect("fits");
    assert_eq!(inner, Rotary::plain(8, 16.0));
    for (json, field) in [
        (
            r#"{"rope_scaling": {"rope_theta": 16.0}, "rope_parameters": {"rope_theta": 17.0}}"#,
            "rope_parameters",
        ),
        (r#"{"partial_rotary_factor": 0.4}"#, "partial_rotary_factor"),
        (r#"{"rope_scaling": {"partial_rotary_factor": 1.5}}"#, "rope_scaling"),
        (r#"{"rope_scaling": {"type": "dynamic", "factor": 0.5}, "max_position_embeddings": 8}"#, "factor"),
        (r#"{"rope_scaling": {"type": "linear", "factor": 0}}"#, "factor"),
        (r#"{"rope_scaling": {"type": "yarn", "factor": 2.0}}"#, "max_position_embeddings"),
        (r#"{"rope_scaling": "yarn"}"#, "rope_scaling"),
    ] {
        let error = read(json, 8).expect_err("refused").to_string();
        assert!(error.contains(field), "{json}: {error}");
    }
    let neox = |json: &str| Rotary::of(&config(json), 8, ("rotary_pct", 0.25), "rotary_emb_base");
    let both =
        neox(r#"{"rotary_pct": 0.5, "partial_rotary_factor": 0.5, "rotary_emb_base": 16, "rope_theta": 16}"#);
    assert_eq!(both.expect("fits"), Rotary::plain(4, 16.0));
    let error = neox(r#"{"rotary_emb_base": 16, "rope_theta": 17}"#).expect_err("refused").to_string();
    assert!(error.contains("rope_theta") && error.contains("rotary_emb_base"), "{error}");
}
