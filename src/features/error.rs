/// Why records could not be made.
#[derive(Debug, thiserror::Error)]
pub enum FeatureError {
    /// One document number per fragment is needed.
    #[error(
        "{documents} document numbers were given for {fragments} fragments; \
         expected one for each fragment, and at least one fragment"
    )]
    Documents {
        /// Fragments given.
        fragments: usize,
        /// Document numbers given.
        documents: usize,
    },
    /// A block of codes has another shape than announced.
    #[error(
        "codes have shape [{rows}, {cols}], expected [{n_fragments} x {positions}, {n_features}]: \
         one row per token of whole fragments of {positions} tokens, one column per feature"
    )]
    BlockShape {
        /// Rows given.
        rows: usize,
        /// Columns given.
        cols: usize,
        /// Whole fragments that the rows hold.
        n_fragments: usize,
        /// Tokens of a fragment.
        positions: usize,
        /// Features of the dictionary.
        n_features: usize,
    },
    /// A block starts elsewhere than the last one ended, so a fragment would be missed or counted twice.
    #[error("a block of codes starts at fragment {got}, expected fragment {expected}: feed blocks in order")]
    BlockOrder {
        /// Fragment expected next.
        expected: usize,
        /// Fragment given.
        got: usize,
    },
    /// Not every fragment was fed before the records were asked for, or more were.
    #[error("codes of {got} fragments were given, expected {expected}")]
    FragmentCount {
        /// Fragments of the set.
        expected: usize,
        /// Fragments fed.
        got: usize,
    },
    /// A code that is NaN or infinite.
    #[error(
        "the code of feature {feature} on fragment {fragment} is {value}; codes must be finite: check the dictionary's weights"
    )]
    NotFinite {
        /// The feature.
        feature: usize,
        /// The fragment.
        fragment: usize,
        /// NaN or an infinity.
        value: f32,
    },
    /// Activations asked for came with another length.
    #[error(
        "feature {feature} has {got} activations on fragment {fragment}, expected {expected}, one per token"
    )]
    ActivationCount {
        /// The feature.
        feature: usize,
        /// The fragment.
        fragment: usize,
        /// Tokens of the fragment.
        expected: usize,
        /// Activations given.
        got: usize,
    },
    /// A record holds fewer fragments than its protocol's slices take.
    #[error(
        "the record of feature {feature} has {got} {list} fragments, but the protocol `{protocol}` takes one at rank {rank}; \
         only eligible features can be split"
    )]
    TooFew {
        /// The feature.
        feature: usize,
        /// Which list.
        list: &'static str,
        /// Fragments in it.
        got: usize,
        /// First rank that is missing.
        rank: usize,
        /// The protocol's name.
        protocol: String,
    },
    /// Constants that contradict each other.
    #[error("protocol `{protocol}`: {problem}")]
    Protocol {
        /// The protocol's name.
        protocol: String,
        /// What is wrong and what was expected.
        problem: String,
    },
}
