use crate::base::Attempt;
use crate::features::{Evidence, Explanation, TokenTable};

use super::explainer::{Activate, ExplainError, Explainer};

/// Mean activation of each token type over the explain fragments (Bills et al. 2023). It knows only token identity:
/// a baseline for every explanation.
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

/// Mean activation of each token type over the fit split: the best prediction from token identity alone.
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
