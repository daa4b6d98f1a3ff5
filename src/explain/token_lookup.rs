use crate::base::Attempt;
use crate::features::{Evidence, Explanation, TokenTable};

use super::explainer::{Activate, ExplainError, Explainer};

/// The mean activation of each token type over the fragments explained on: the floor under every
/// explanation, as it knows nothing but token identity.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokenLookup;

impl Explainer for TokenLookup {
    fn name(&self) -> &'static str {
        "token_lookup"
    }

    fn explain(
        &self,
        evidence: &[Evidence],
        _activate: &Activate<'_>,
    ) -> Result<Vec<Attempt<Explanation>>, ExplainError> {
        let table = |evidence: &Evidence| TokenTable::of_tokens(evidence.scored_tokens());
        Ok(evidence.iter().map(|evidence| Attempt::Done(Explanation::Lookup(table(evidence)))).collect())
    }
}

/// The mean activation of each token type over the fit split: what token identity can tell at best.
#[derive(Debug, Clone)]
pub struct TokenLookupFit {
    tables: Vec<TokenTable>,
}

impl TokenLookupFit {
    /// One table per feature, in the order of the evidence; see `TypeMeans`.
    pub fn new(tables: Vec<TokenTable>) -> Self {
        Self { tables }
    }
}

impl Explainer for TokenLookupFit {
    fn name(&self) -> &'static str {
        "token_lookup_fit"
    }

    fn explain(
        &self,
        evidence: &[Evidence],
        _activate: &Activate<'_>,
    ) -> Result<Vec<Attempt<Explanation>>, ExplainError> {
        if self.tables.len() != evidence.len() {
            return Err(ExplainError::TableCount { features: evidence.len(), tables: self.tables.len() });
        }
        Ok(self.tables.iter().map(|table| Attempt::Done(Explanation::Lookup(table.clone()))).collect())
    }
}
