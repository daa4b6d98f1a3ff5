//! A limit of dollars, kept by reserving the worst cost of each call.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::ledger::{Announced, Ledger, Line};
use super::{ChatError, locked};
use crate::base::FileError;

/// Tolerance for rounding in sums of prices; every call costs more.
const ROUNDING: f64 = 1e-9;

/// Pause between two looks at an account that other processes share.
const PAUSE: Duration = Duration::from_millis(50);

/// Number of bills up to which each is told to other processes at once: they may start no more calls than bills allow.
const TOLD_BILLS: usize = 16;

/// Dollars that may be spent. Clones share one account, so several models can have one budget.
///
/// A call in flight reserves its worst case: its estimate, times the largest ratio of bill to estimate so far, for
/// prompts and for answers. A call starts only if it fits beside what is spent and reserved. So fewer are in flight when
/// less of the budget is left. While calls are in flight, one that does not fit waits; the budget is used up
/// when nothing is in flight and the next call does not fit.
///
/// Estimates may be far too low, which only a bill shows. So the first call is alone, and at most one more than the
/// number of bills so far is in flight. With n bills seen, n + 1 calls in flight exceed the largest of them about once,
/// if the endpoint bills all calls alike. What is spent exceeds the limit at most by what single calls are billed beyond
/// the largest ratio before they started: by the first call alone if the endpoint always bills R times the estimate, and
/// by nothing if it keeps to the estimate.
///
/// Several processes can have one account in a folder, see [`Self::share`]: all together then keep to the limit, and the
/// rules above hold for the calls of all of them.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Account>);

#[derive(Debug)]
struct Account {
    limit: f64,
    money: Mutex<Money>,
    settled: Notify,
    ledger: Mutex<Shared>,
}

/// What is shared with other processes.
#[derive(Debug, Default)]
enum Shared {
    #[default]
    Nothing,
    Account(Box<Ledger>),
    /// The account cannot be opened, so nothing may be spent.
    Closed(FileError),
}

/// Dollars of one call.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Cost {
    /// For the prompt.
    pub input: f64,
    /// For the answer.
    pub output: f64,
}

impl Cost {
    fn total(self) -> f64 {
        self.input + self.output
    }

    fn plus(self, other: Self) -> Self {
        Self { input: self.input + other.input, output: self.output + other.output }
    }
}

#[derive(Debug, Default)]
struct Money {
    spent: f64,
    /// Estimates of the calls in flight.
    estimated: Cost,
    /// Calls in flight.
    open: usize,
    /// Calls that were billed.
    bills: usize,
    /// Largest ratios of bill to estimate; below 1, the estimate counts.
    ratio: Cost,
}

impl Money {
    /// Worst cost of calls with this estimate.
    fn worst(&self, estimate: Cost) -> f64 {
        estimate.input * self.ratio.input.max(1.0) + estimate.output * self.ratio.output.max(1.0)
    }

    /// The line of an account, with what is spent.
    fn line(&self) -> Line {
        Line {
            claimed: self.spent,
            open: self.open,
            bills: self.bills,
            ratios: [self.ratio.input, self.ratio.output],
        }
    }

    fn bill(&mut self, estimate: Cost, actual: Cost) {
        let ratio = |actual: f64, estimate: f64| if estimate > 0.0 { actual / estimate } else { 0.0 };
        self.spent += actual.total();
        self.bills += usize::from(actual.total() > 0.0);
        self.ratio.input = self.ratio.input.max(ratio(actual.input, estimate.input));
        self.ratio.output = self.ratio.output.max(ratio(actual.output, estimate.output));
    }
}

/// Dollars reserved for one call in flight. Dropping it releases them.
pub(super) struct Reserved {
    budget: Budget,
    estimate: Cost,
    actual: Cost,
}

impl Budget {
    /// An unspent budget of `limit` dollars.
    pub fn new(limit: f64) -> Self {
        Self(Arc::new(Account {
            limit,
            money: Mutex::default(),
            settled: Notify::new(),
            ledger: Mutex::default(),
        }))
    }

    /// Shares the account in `folder` with other processes: what they spend there counts too. Call it before the first
    /// request. Where the account cannot be written, nothing is spent.
    pub fn share(&self, folder: &Path) {
        let mut ledger = locked(&self.0.ledger);
        if matches!(*ledger, Shared::Nothing) {
            *ledger = match Ledger::open(folder) {
                Ok(opened) => Shared::Account(Box::new(opened)),
                Err(error) => Shared::Closed(error),
            };
        }
    }

    /// Whether the account of all processes permits this process to spend `needed` dollars in all, `next` of them on its
    /// next call. Without such an account it does.
    fn announce(&self, money: &mut Money, [needed, next]: [f64; 2]) -> Result<Announced, ChatError> {
        let closed = |error: &FileError| {
            let detail = format!("cannot be held, because what is spent cannot be stored: {error}");
            ChatError::unsupported("the budget", detail)
        };
        match &mut *locked(&self.0.ledger) {
            Shared::Nothing => Ok(Announced::Fits),
            Shared::Closed(error) => Err(closed(error)),
            Shared::Account(ledger) if needed <= ledger.claimed() && money.bills > 0 => Ok(Announced::Fits),
            Shared::Account(ledger) => {
                let line = money.line();
                let told = ledger.announce(line, [needed, next], self.0.limit + ROUNDING);
                let ([input, output], before) = (ledger.ratios(), money.ratio);
                money.ratio = Cost { input: input.max(before.input), output: output.max(before.output) };
                let told = told.map_err(|error| closed(&error))?;
                // Bills elsewhere show that calls may cost more than was announced.
                Ok(if money.ratio == before { told } else { Announced::Wait })
            }
        }
    }

    /// Tells other processes what is spent, when they may wait for it.
    fn tell(&self, money: &Money) {
        if (money.open == 0 || money.bills <= TOLD_BILLS)
            && let Shared::Account(ledger) = &mut *locked(&self.0.ledger)
        {
            let reserved = if money.open == 0 { 0.0 } else { money.worst(money.estimated) };
            ledger.settle(Line { claimed: money.spent + reserved, ..money.line() });
        }
    }

    /// Dollars spent so far.
    pub fn spent(&self) -> f64 {
        locked(&self.0.money).spent
    }

    /// `None` if calls in flight have to end before this one.
    fn try_reserve(&self, estimate: Cost) -> Result<Option<Reserved>, ChatError> {
        let limit = self.0.limit;
        let mut money = locked(&self.0.money);
        // A model that costs nothing, such as one on this machine, does not wait for bills.
        let is_free = estimate.total() == 0.0;
        let fits = money.spent + money.worst(money.estimated.plus(estimate)) <= limit + ROUNDING;
        if money.open > 0 && !is_free && (!fits || money.open > money.bills) {
            return Ok(None);
        }
        if !is_free && !fits {
            return Err(ChatError::Budget { limit, spent: money.spent });
        }
        if !is_free {
            let (others, next) = (money.worst(money.estimated), money.worst(estimate));
            let needed = money.spent + others + next;
            match self.announce(&mut money, [needed, next])? {
                Announced::Fits => {}
                Announced::Full(elsewhere) if money.open == 0 => {
                    return Err(ChatError::Budget { limit, spent: money.spent + elsewhere });
                }
                Announced::Wait | Announced::Full(_) => return Ok(None),
            }
            money.estimated = money.estimated.plus(estimate);
            money.open += 1;
        }
        Ok(Some(Reserved { budget: self.clone(), estimate, actual: Cost::default() }))
    }

    /// Reserves the worst cost of a call with this estimate, after waiting for calls in flight. Fails if it does not fit
    /// into what is left when nothing is in flight.
    pub(super) async fn reserve(&self, estimate: Cost) -> Result<Reserved, ChatError> {
        loop {
            // Register for the notification before the check: a call that ends in between is then not missed.
            let mut settled = std::pin::pin!(self.0.settled.notified());
            settled.as_mut().enable();
            if let Some(reserved) = self.try_reserve(estimate)? {
                return Ok(reserved);
            }
            let is_shared = !matches!(*locked(&self.0.ledger), Shared::Nothing);
            if is_shared {
                // Other processes do not notify this one.
                let _ = timeout(PAUSE, settled).await;
            } else {
                settled.await;
            }
        }
    }
}

impl Reserved {
    /// Replaces the reservation by the actual cost.
    pub fn settle(mut self, actual: Cost) {
        self.actual = actual;
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if self.estimate.total() == 0.0 {
            return;
        }
        let account = &self.budget.0;
        let mut money = locked(&account.money);
        money.bill(self.estimate, self.actual);
        money.open -= 1;
        let Cost { input, output } = money.estimated;
        money.estimated = match money.open {
            0 => Cost::default(),
            _ => Cost { input: input - self.estimate.input, output: output - self.estimate.output },
        };
        self.budget.tell(&money);
        drop(money);
        account.settled.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What became of some calls.
    struct Spent {
        dollars: f64,
        /// Sum of what bills were above what was reserved for their call when it started.
        surprises: f64,
        calls: usize,
    }

    /// Starts each call as soon as the budget lets it, and ends calls in the order that `order` gives. A call is an
    /// estimate and the factor of it that the endpoint bills.
    fn simulate(limit: f64, calls: &[(Cost, f64)], order: &[usize]) -> Spent {
        let budget = Budget::new(limit);
        let mut spent = Spent { dollars: 0.0, surprises: 0.0, calls: 0 };
        let (mut waiting, mut in_flight) = (calls.iter().copied().peekable(), Vec::new());
        for nth in 0.. {
            while let Some((estimate, _)) = waiting.peek() {
                let worst = locked(&budget.0.money).worst(*estimate);
                match budget.try_reserve(*estimate) {
                    Ok(Some(reserved)) => {
                        in_flight.extend(waiting.next().map(|(_, factor)| (reserved, factor, worst)));
                    }
                    Ok(None) => break,
                    Err(_) => {
                        assert!(in_flight.is_empty(), "the end waits for what is in flight");
                        spent.dollars = budget.spent();
                        return spent;
                    }
                }
            }
            assert!(in_flight.len() <= locked(&budget.0.money).bills + 1);
            if in_flight.is_empty() {
                break;
            }
            let (reserved, factor, worst) = in_flight.swap_remove(order[nth % order.len()] % in_flight.len());
            let Cost { input, output } = reserved.estimate;
            let bill = Cost { input: input * factor, output: output * factor };
            spent.surprises += (bill.total() - worst).max(0.0);
            reserved.settle(bill);
            spent.calls += 1;
        }
        spent.dollars = budget.spent();
        spent
    }

    fn estimates() -> impl Strategy<Value = Vec<Cost>> {
        let cost = (0.01..1.0, 0.01..1.0).prop_map(|(input, output)| Cost { input, output });
        prop::collection::vec(cost, 1..80)
    }

    fn with(estimates: Vec<Cost>, factors: &[f64]) -> Vec<(Cost, f64)> {
        estimates.into_iter().zip(factors.iter().copied().cycle()).collect()
    }

    proptest! {
        #[test]
        fn an_endpoint_that_keeps_to_the_estimate_never_exceeds_the_limit(
            estimates in estimates(),
            factors in prop::collection::vec(0.0..=1.0_f64, 1..20),
            limit in 0.0..60.0_f64,
            order in prop::collection::vec(0..100_usize, 1..50),
        ) {
            let spent = simulate(limit, &with(estimates, &factors), &order);
            prop_assert!(spent.dollars <= limit + 1e-6, "{} of {limit}", spent.dollars);
        }

        #[test]
        fn an_endpoint_that_always_bills_more_surprises_once(
            estimates in estimates(),
            factor in 1.0..60.0_f64,
            limit in 0.0..200.0_f64,
            order in prop::collection::vec(0..100_usize, 1..50),
        ) {
            let first = estimates[0].total() * factor;
            let spent = simulate(limit, &with(estimates, &[factor]), &order);
            prop_assert!(spent.dollars <= limit.max(first) + 1e-6, "{} of {limit}, first {first}", spent.dollars);
        }

        #[test]
        fn the_limit_is_exceeded_by_surprises_alone(
            estimates in estimates(),
            factors in prop::collection::vec(0.0..60.0_f64, 1..20),
            limit in 0.0..200.0_f64,
            order in prop::collection::vec(0..100_usize, 1..50),
        ) {
            let spent = simulate(limit, &with(estimates, &factors), &order);
            let most = limit + spent.surprises;
            prop_assert!(spent.dollars <= most + 1e-6, "{} of {limit} + {}", spent.dollars, spent.surprises);
        }

        #[test]
        fn a_budget_that_suffices_refuses_nothing(
            estimates in estimates(),
            order in prop::collection::vec(0..100_usize, 1..50),
        ) {
            let n = estimates.len();
            let limit = estimates.iter().map(|cost| cost.total()).sum::<f64>() + 1e-6;
            prop_assert_eq!(simulate(limit, &with(estimates, &[1.0]), &order).calls, n);
        }
    }

    #[test]
    fn what_costs_nothing_never_waits() {
        let budget = Budget::new(0.0);
        let free: Vec<Option<Reserved>> =
            (0..5).map(|_| budget.try_reserve(Cost::default()).expect("free")).collect();
        assert!(free.iter().all(Option::is_some));
    }
}
