use crate::base::{Attempt, Missing};
use crate::features::{ConceptMeans, Explanation, Pattern, PatternTrie, TokenTable};

use super::{Offline, Oracle, Simulation};

#[test]
fn patterns_and_tables_predict_and_sentences_are_counted_as_failed() {
    let predict = |explanation: &Explanation| Offline.simulate(explanation, &[1, 2, 3]).done().cloned();
    let pattern = Pattern { tokens: vec![Some(1), Some(2)], value: 4.0, examples: 1 };
    assert_eq!(
        predict(&Explanation::Patterns(PatternTrie::new([pattern], 0.5, None))),
        Some(Simulation::told([0.5, 4.0, 0.5]))
    );
    assert_eq!(
        predict(&Explanation::Lookup(TokenTable::new([(3, 2.0)], 0.25))),
        Some(Simulation::told([0.25, 0.25, 2.0]))
    );
    assert_eq!(
        Offline.simulate(&Explanation::Sentence("fires on dogs".into()), &[1]),
        Attempt::Missing(Missing::Failed("needs_a_language_model".into()))
    );
}

#[test]
fn a_concept_is_on_where_its_label_is() {
    let means = ConceptMeans {
        concept: 3,
        name: "in.quotes".into(),
        words: "inside a quotation".into(),
        on: 0.8,
        off: 0.02,
    };
    let explanation = Explanation::Concept(means);
    assert_eq!(explanation.text(&|_| String::new()), "inside a quotation: 0.8 on, 0.02 off");
    let holds = |label: u32, concept: usize| label as usize == concept;
    let simulated = Oracle.simulate(&explanation, &[3, 1, 3], holds);
    assert_eq!(simulated.done(), Some(&Simulation::told([0.8, 0.02, 0.8])));
    let failed = |reason: &str| Attempt::Missing(Missing::Failed(reason.into()));
    assert_eq!(Offline.simulate(&explanation, &[1]), failed("needs_labels"));
    let sentence = Explanation::Sentence("fires on dogs".into());
    assert_eq!(Oracle.simulate(&sentence, &[1_u32], holds), failed("needs_a_concept"));
}
