use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::{ChatError, locked};

/// Less than any call costs; sums of prices may differ by rounding.
const ROUNDING: f64 = 1e-9;

/// Dollars that may be spent. Clones share one purse, so several models can have one budget.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Purse>);

#[derive(Debug)]
struct Purse {
    limit: f64,
    money: Mutex<Money>,
    settled: Notify,
}

#[derive(Debug, Default)]
struct Money {
    spent: f64,
    reserved: f64,
    open: usize,
}

/// Dollars set aside for a call under way; dropped, they are free again.
pub(super) struct Reserved {
    budget: Budget,
    cost: f64,
    actual: f64,
}

enum Answer {
    Granted,
    Wait,
    Refused { spent: f64 },
}

impl Budget {
    /// A budget of `limit` dollars of which nothing is spent.
    pub fn new(limit: f64) -> Self {
        Self(Arc::new(Purse { limit, money: Mutex::default(), settled: Notify::new() }))
    }

    /// Dollars allowed.
    pub fn limit(&self) -> f64 {
        self.0.limit
    }

    /// Dollars spent so far.
    pub fn spent(&self) -> f64 {
        locked(&self.0.money).spent
    }

    fn try_reserve(&self, cost: f64) -> Answer {
        let mut money = locked(&self.0.money);
        if money.spent + cost > self.0.limit + ROUNDING {
            return Answer::Refused { spent: money.spent };
        }
        if money.spent + money.reserved + cost > self.0.limit + ROUNDING {
            return Answer::Wait;
        }
        money.reserved += cost;
        money.open += 1;
        Answer::Granted
    }

    /// Sets `cost` aside. Where only calls under way stand against it, it waits for what they turn
    /// out to cost.
    ///
    /// # Errors
    /// [`ChatError::Budget`] where what is spent and `cost` pass the limit.
    pub(super) async fn reserve(&self, cost: f64) -> Result<Reserved, ChatError> {
        loop {
            // Listens before it looks, so that nothing is settled unheard in between.
            let mut settled = std::pin::pin!(self.0.settled.notified());
            settled.as_mut().enable();
            match self.try_reserve(cost) {
                Answer::Granted => return Ok(Reserved { budget: self.clone(), cost, actual: 0.0 }),
                Answer::Wait => settled.await,
                Answer::Refused { spent } => return Err(ChatError::Budget { limit: self.0.limit, spent }),
            }
        }
    }
}

impl Reserved {
    /// The call is over and cost `actual` dollars.
    pub fn settle(mut self, actual: f64) {
        self.actual = actual;
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let purse = &self.budget.0;
        let mut money = locked(&purse.money);
        money.spent += self.actual;
        money.open -= 1;
        money.reserved = if money.open == 0 { 0.0 } else { money.reserved - self.cost };
        drop(money);
        purse.settled.notify_waiters();
    }
}
