use crate::base::{Attempt, Missing};
use crate::features::{Explanation, Pattern, PatternTrie, TokenTable};

use super::{Offline, Simulator};

#[test]
fn patterns_and_tables_predict_and_sentences_are_counted_as_failed() {
    let predict = |explanation: &Explanation| {
        Offline.simulate(explanation, &[1, 2, 3]).done().map(|simulation| simulation.expected.clone())
    };
    let pattern = Pattern { tokens: vec![Some(1), Some(2)], value: 4.0, examples: 1 };
    assert_eq!(
        predict(&Explanation::Patterns(PatternTrie::new([pattern], 0.5, None))),
        Some(vec![0.5, 4.0, 0.5])
    );
    assert_eq!(predict(&Explanation::Lookup(TokenTable::new([(3, 2.0)], 0.25))), Some(vec![0.25, 0.25, 2.0]));
    assert_eq!(
        Offline.simulate(&Explanation::Sentence("fires on dogs".into()), &[1]),
        Attempt::Missing(Missing::Failed("needs_a_language_model".into()))
    );
}
