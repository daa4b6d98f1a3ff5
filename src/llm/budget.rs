//! A limit of dollars, kept by reserving the estimated cost of each call.

use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::{ChatError, locked};

/// Tolerance for rounding in sums of prices; every call costs more.
const ROUNDING: f64 = 1e-9;

/// Dollars that may be spent. Clones share one account, so several models can have one budget.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Account>);

#[derive(Debug)]
struct Account {
    limit: f64,
    money: Mutex<Money>,
    settled: Notify,
}

#[derive(Debug, Default)]
struct Money {
    spent: f64,
    reserved: f64,
    /// Calls in flight.
    open: usize,
}

/// Dollars reserved for one call in flight. Dropping it releases them.
pub(super) struct Reserved {
    budget: Budget,
    cost: f64,
    actual: f64,
}

impl Budget {
    /// An unspent budget of `limit` dollars.
    pub fn new(limit: f64) -> Self {
        Self(Arc::new(Account { limit, money: Mutex::default(), settled: Notify::new() }))
    }

    /// Dollars spent so far.
    pub fn spent(&self) -> f64 {
        locked(&self.0.money).spent
    }

    /// `None` if only reservations of calls in flight prevent this one.
    fn try_reserve(&self, cost: f64) -> Result<Option<Reserved>, ChatError> {
        let limit = self.0.limit;
        let mut money = locked(&self.0.money);
        if money.spent + cost > limit + ROUNDING {
            return Err(ChatError::Budget { limit, spent: money.spent });
        }
        if money.spent + money.reserved + cost > limit + ROUNDING {
            return Ok(None);
        }
        money.reserved += cost;
        money.open += 1;
        Ok(Some(Reserved { budget: self.clone(), cost, actual: 0.0 }))
    }

    /// Reserves `cost` dollars, after waiting for calls in flight whose reservations are in the way. Fails if the
    /// dollars spent plus `cost` exceed the limit.
    pub(super) async fn reserve(&self, cost: f64) -> Result<Reserved, ChatError> {
        loop {
            // Register for the notification before the check: a call that ends in between is then not missed.
            let mut settled = std::pin::pin!(self.0.settled.notified());
            settled.as_mut().enable();
            if let Some(reserved) = self.try_reserve(cost)? {
                return Ok(reserved);
            }
            settled.await;
        }
    }
}

impl Reserved {
    /// Replaces the reservation by the actual cost in dollars.
    pub fn settle(mut self, actual: f64) {
        self.actual = actual;
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let account = &self.budget.0;
        let mut money = locked(&account.money);
        money.spent += self.actual;
        money.open -= 1;
        money.reserved = if money.open == 0 { 0.0 } else { money.reserved - self.cost };
        drop(money);
        account.settled.notify_waiters();
    }
}
