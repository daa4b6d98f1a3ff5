use proptest::prelude::*;

use super::super::{Explanation, Pattern, PatternTrie, TokenTable};

fn pattern(tokens: &[Option<u32>], value: f64) -> Pattern {
    Pattern { tokens: tokens.to_vec(), value, examples: 1 }
}

fn trie(patterns: &[(&[Option<u32>], f64)]) -> PatternTrie {
    PatternTrie::new(patterns.iter().map(|(tokens, value)| pattern(tokens, *value)), 0.0, None)
}

#[test]
fn the_longest_match_is_found_where_the_literal_branch_is_a_dead_end() {
    // Backwards from 9: the literal 5 continues only to 1, the wildcard only to 2.
    let trie =
        trie(&[(&[Some(1), Some(5), Some(9)], 4.0), (&[Some(2), None, Some(9)], 3.0), (&[Some(9)], 1.0)]);
    assert_eq!(trie.longest_match(&[1, 5, 9]), Some(4.0));
    assert_eq!(trie.longest_match(&[2, 5, 9]), Some(3.0), "needs backtracking");
    assert_eq!(trie.longest_match(&[8, 5, 9]), Some(1.0));
    assert_eq!(trie.longest_match(&[9]), Some(1.0));
    assert_eq!(trie.longest_match(&[9, 8]), None);
    assert_eq!(trie.longest_match(&[]), None);
}

#[test]
fn of_equal_lengths_the_literal_one_counts_and_equal_patterns_average() {
    let both = trie(&[(&[None, Some(9)], 1.0), (&[Some(4), Some(9)], 5.0)]);
    assert_eq!(both.longest_match(&[4, 9]), Some(5.0));
    assert_eq!(both.longest_match(&[3, 9]), Some(1.0));
    let equal = trie(&[(&[None, Some(9)], 1.0), (&[None, Some(9)], 4.0)]);
    assert_eq!(equal.longest_match(&[3, 9]), Some(2.5));
    assert_eq!(equal.patterns()[0].examples, 2);
}

#[test]
fn unmatched_tokens_get_the_constant_or_their_type() {
    let patterns = || [pattern(&[Some(9)], 1.0)];
    assert_eq!(PatternTrie::new(patterns(), 0.25, None).predict(&[9, 4]), [1.0, 0.25]);
    let table = TokenTable::new([(4, 0.75)], 0.5);
    assert_eq!(PatternTrie::new(patterns(), 0.0, Some(table)).predict(&[9, 4, 5]), [1.0, 0.75, 0.5]);
}

#[test]
fn tables_hold_means_by_type_and_the_overall_mean() {
    let table = TokenTable::of_tokens([(3, 1.0), (3, 2.0), (4, -1.0), (5, 0.0)]);
    assert_eq!([3, 4, 5, 6].map(|token| table.mean(token)), [1.5, -1.0, 0.0, 0.5]);
    assert_eq!(TokenTable::of_tokens([]).mean(1), 0.0);
}

#[test]
fn explanations_survive_json_and_read_as_text() {
    let word = |token: u32| [" the", " big", " dog", "\n"][token as usize].to_string();
    let trie =
        PatternTrie::new([pattern(&[Some(0), None, Some(2)], 3.1234), pattern(&[Some(3)], 0.5)], 0.02, None);
    let patterns = Explanation::Patterns(trie.clone());
    assert_eq!(patterns.text(&word), r#"" the" then any then " dog" → 3.12; "\n" → 0.5; otherwise 0.02"#);
    let lookup = Explanation::Lookup(TokenTable::new([(1, 2.0), (2, 1234.5)], 0.0));
    assert_eq!(lookup.text(&word), r#"" dog" → 1234; " big" → 2; any other token 0"#);
    let backed = Explanation::Patterns(trie.with_unmatched(0.0, Some(TokenTable::new([(1, 2.0)], -0.001))));
    assert!(backed.text(&word).ends_with("otherwise by token, on average -0.001"));
    let sentence = Explanation::Sentence("the word dog".into());
    for explanation in [patterns, lookup, backed, sentence] {
        let json = serde_json::to_string(&explanation).expect("written");
        assert_eq!(serde_json::from_str::<Explanation>(&json).expect("read"), explanation);
    }
    let open_ended =
        r#"{"patterns":{"patterns":[{"tokens":[1,null],"value":1.0,"examples":1}],"unmatched":0.0}}"#;
    assert!(serde_json::from_str::<Explanation>(open_ended).is_err(), "a pattern must end in a token");
}

#[test]
fn long_explanations_are_cut_with_a_count() {
    let lookup = Explanation::Lookup(TokenTable::new((0..20).map(|token| (token, f64::from(token))), 0.0));
    let text = lookup.text(&|token| token.to_string());
    assert!(text.starts_with(r#""19" → 19; "18" → 18"#) && text.contains("… and 8 more"), "{text}");
}

/// Reference: the longest match by trying every pattern. Ties go to the pattern that is literal closest to
/// its end.
fn by_hand(patterns: &[Pattern], text: &[u32]) -> Option<f64> {
    let fits = |pattern: &&Pattern| {
        pattern.tokens.len() <= text.len()
            && pattern
                .tokens
                .iter()
                .rev()
                .zip(text.iter().rev())
                .all(|(part, token)| part.is_none_or(|p| p == *token))
    };
    let literal_first =
        |pattern: &Pattern| pattern.tokens.iter().rev().map(|part| part.is_some()).collect::<Vec<_>>();
    patterns
        .iter()
        .filter(fits)
        .max_by(|a, b| a.tokens.len().cmp(&b.tokens.len()).then(literal_first(a).cmp(&literal_first(b))))
        .map(|pattern| pattern.value)
}

proptest! {
    #[test]
    fn the_trie_finds_what_trying_every_pattern_finds(
        patterns in prop::collection::vec(
            (prop::collection::vec(prop::option::of(0u32..3), 0..4), 0u32..3, 0.0f64..9.0), 1..12),
        text in prop::collection::vec(0u32..3, 1..12),
    ) {
        let trie = PatternTrie::new(
            patterns.into_iter().map(|(mut tokens, last, value)| {
                tokens.push(Some(last));
                Pattern { tokens, value, examples: 1 }
            }),
            0.0,
            None,
        );
        prop_assert_eq!(trie.longest_match(&text), by_hand(trie.patterns(), &text));
    }
}
