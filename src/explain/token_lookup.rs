//! Token lookup (Bills et al. 2023): the mean activation of each token type. It knows only token identity.

use super::ExplainError;
use crate::base::Attempt;
use crate::features::{Evidence, Explanation, TokenTable};

/// Mean activation of each token type over the explain fragments: a baseline for every explanation.
pub fn token_lookup(evidence: &[Evidence]) -> Vec<Attempt<Explanation>> {
    let table = |evidence: &Evidence| TokenTable::of_tokens(evidence.scored_tokens());
    evidence.iter().map(|evidence| Attempt::Done(Explanation::Lookup(table(evidence)))).collect()
}

/// Mean activation of each token type over the fit split: the best prediction from token identity alone. `tables`
/// has one table per feature, in the order of the evidence; see [`super::TypeMeans`].
pub fn token_lookup_fit(
    tables: Vec<TokenTable>,
    evidence: &[Evidence],
) -> Result<Vec<Attempt<Explanation>>, ExplainError> {
    if tables.len() != evidence.len() {
        return Err(ExplainError::TableCount { features: evidence.len(), tables: tables.len() });
    }
    Ok(tables.into_iter().map(|table| Attempt::Done(Explanation::Lookup(table))).collect())
}
