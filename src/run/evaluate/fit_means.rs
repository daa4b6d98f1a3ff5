//! Mean activations over the fit split by token type and by set of concepts, in one pass.

use crate::activations::fitted_token_indices;
use crate::explain::TypeMeans;
use crate::features::Evidence;
use crate::run::RunError;
use crate::run::evaluate::Evaluation;

/// Rows of the fit split per batch.
const BLOCK_ROWS: usize = 8192;

/// Mean activations of the explained features; none where no explainer needs them.
pub struct FitMeans {
    /// By token type.
    pub types: Option<TypeMeans>,
    /// By set of concepts.
    pub labels: Option<TypeMeans>,
}

impl Evaluation<'_> {
    /// Encodes the fit split once, if an explainer needs the means.
    pub fn fit_means(&self, evidence: &[Evidence]) -> Result<FitMeans, RunError> {
        let by_type = self.pass.run.suite.pairs.iter().any(|pair| pair.explainer.kind().reads_fit());
        let features: Vec<usize> = evidence.iter().map(Evidence::feature).collect();
        let new = || TypeMeans::new((0..features.len()).collect());
        let mut means = FitMeans { types: by_type.then(new), labels: self.labels.map(|_| new()) };
        if means.types.is_none() && means.labels.is_none() {
            return Ok(means);
        }
        let tokens = self.pass.run.tokens;
        let mut places = fitted_token_indices(&self.activations.fit, tokens.fit.ids().len(), |place| {
            tokens.is_fitted(place)
        });
        let n_rows = self.activations.fit.rows();
        for start in (0..n_rows).step_by(BLOCK_ROWS) {
            self.pass.run.stop.check()?;
            self.tell("means", start, n_rows, "tokens");
            let block = self.activations.fit.read(start, BLOCK_ROWS)?;
            let codes = self.dictionary.encode_features(&block, &features)?;
            let tokens = self.activations.fit.tokens(start, BLOCK_ROWS)?;
            let failed = |error: crate::explain::ExplainError| self.cannot_explain(&error.to_string());
            if let Some(types) = &mut means.types {
                types.add(&tokens, &codes).map_err(failed)?;
            }
            if let (Some(sums), Some(labels)) = (&mut means.labels, self.labels) {
                let places: Vec<usize> = places.by_ref().take(tokens.len()).collect();
                // The store holds token ids, so misaligned rows are detected.
                if !places
                    .iter()
                    .map(|&place| self.pass.run.tokens.fit.ids()[place])
                    .eq(tokens.iter().copied())
                {
                    return Err(
                        self.cannot_explain("labels and stored activations belong to different tokens")
                    );
                }
                let sets: Vec<u32> = places.iter().map(|&place| labels.fit[place]).collect();
                sums.add(&sets, &codes).map_err(failed)?;
            }
        }
        self.tell("means", n_rows, n_rows, "tokens");
        Ok(means)
    }
}
