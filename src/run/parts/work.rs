//! The rows that one part does. Activations are harvested by the first part to come. Then follow its own units, and those
//! that no part works on.

use std::collections::BTreeMap;

use super::leases::PAUSE;
use super::share::{Round, Share};
use super::taking::{Open, Taking};
use crate::base::{Claim, HookPoint, Lease};
use crate::run::inputs::harvest::Harvester;
use crate::run::results::gather::Gathered;
use crate::run::results::neighbours::write_neighbours;
use crate::run::rows::row::{Evaluate, HookRows, complete, stored_rows, take_activations};
use crate::run::rows::turns::Everything;
use crate::run::{Event, RunError, SubjectPass};

/// Does what this part may do of one subject's rows. Hook points whose activations are there come before those that
/// another part is harvesting. If a hook point has unusable activations, the others are finished first.
pub fn rows_of_subject(
    share: &Share,
    pass: &SubjectPass<'_>,
    round: Round,
    hooks: &[HookPoint],
    evaluate: &Evaluate,
    on: &dyn Fn(Event),
) -> Result<(), RunError> {
    let taking = &Taking::new(share, pass, round);
    let work = PartWork { share, pass, taking, evaluate, on };
    let (mut waiting, mut claims, mut is_told) = (hooks.to_vec(), BTreeMap::new(), false);
    let mut unusable = None;
    loop {
        pass.run.stop.check()?;
        let mut now = Vec::new();
        let mut later = Vec::new();
        for &hook in &waiting {
            match taking.open(hook)? {
                Open::Now => now.push(hook),
                Open::Later => later.push(hook),
                Open::Nothing => {}
            }
        }
        let harvest = work.harvestable(&now, &mut claims)?;
        if harvest.hooks.is_empty() {
            if now.is_empty() && later.is_empty() {
                return unusable.map_or(Ok(()), Err);
            }
            if let Some(hook) = now.first().filter(|_| !is_told) {
                on(Event::Note(format!("another part harvests activations of {hook}; waiting for them")));
                is_told = true;
            }
            std::thread::sleep(PAUSE);
        } else {
            let chosen = harvest.hooks.clone();
            let (failed, error) = work.rows_at(harvest)?;
            unusable = unusable.or(error);
            // One's own are tried once.
            waiting = [now, later].concat();
            let is_over =
                |hook: &HookPoint| failed.contains(hook) || (round == Round::Own && chosen.contains(hook));
            waiting.retain(|hook| !is_over(hook));
        }
    }
}

/// Hook points whose activations are there, or may be harvested under these leases.
struct Harvest {
    hooks: Vec<HookPoint>,
    leases: Vec<Lease>,
}

/// The work of a part on one subject.
struct PartWork<'a> {
    share: &'a Share,
    pass: &'a SubjectPass<'a>,
    taking: &'a Taking<'a>,
    evaluate: &'a Evaluate,
    on: &'a dyn Fn(Event),
}

impl PartWork<'_> {
    fn harvester(&self) -> Harvester<'_> {
        Harvester { pass: self.pass, on: self.on }
    }

    /// The first hook points, as many as fit on the disk together, whose activations no other part is harvesting.
    fn harvestable(
        &self,
        hooks: &[HookPoint],
        claims: &mut BTreeMap<HookPoint, Claim>,
    ) -> Result<Harvest, RunError> {
        let harvester = self.harvester();
        for group in harvester.groups(hooks)? {
            let mut found = Harvest { hooks: Vec::new(), leases: Vec::new() };
            for hook in group {
                if harvester.is_stored(hook) {
                    found.hooks.push(hook);
                    continue;
                }
                let claim = || self.share.claim_at("harvest", (self.pass.control, hook));
                match claims.entry(hook).or_insert_with(claim).try_take() {
                    Ok(Some(lease)) => {
                        found.leases.push(lease);
                        found.hooks.push(hook);
                    }
                    Ok(None) => {}
                    Err(_) => found.hooks.push(hook),
                }
            }
            if !found.hooks.is_empty() {
                return Ok(found);
            }
        }
        Ok(Harvest { hooks: Vec::new(), leases: Vec::new() })
    }

    /// Does the units of some hook points. Returns the hook points whose activations are unusable, and why.
    fn rows_at(&self, harvest: Harvest) -> Result<(Vec<HookPoint>, Option<RunError>), RunError> {
        let (pass, on) = (self.pass, self.on);
        let stored = |&hook: &HookPoint| stored_rows(pass, hook, self.taking, on);
        let mut rows: Vec<HookRows> = harvest.hooks.iter().map(stored).collect();
        let missing: Vec<HookPoint> =
            rows.iter().filter(|one| !one.is_complete()).map(|one| one.hook).collect();
        let harvested = self.harvester().harvest(&missing)?;
        // From here on others find them.
        drop(harvest.leases);
        let unusable = take_activations(&mut rows, harvested, on);
        complete(pass, &mut rows, self.evaluate, self.taking, on)?;
        self.taking.end()?;
        let usable: Vec<HookPoint> = rows.iter().map(|one| one.hook).collect();
        // What is open is closed before it is deleted.
        drop(rows);
        usable.iter().try_for_each(|&hook| self.after_rows(hook))?;
        let failed = harvest.hooks.into_iter().filter(|hook| !usable.contains(hook)).collect();
        Ok((failed, unusable))
    }

    /// When all rows of a hook point are stored, the first part to see it finds neighbours, runs the experiments and deletes
    /// the activations. The whole run does what is missing.
    fn after_rows(&self, hook: HookPoint) -> Result<(), RunError> {
        let (pass, on) = (self.pass, self.on);
        if !self.taking.is_complete(hook) {
            return Ok(());
        }
        self.harvester().remove(hook);
        let mut claim = self.share.claim_at("after", (pass.control, hook));
        let (None, Ok(Some(_lease))) = (pass.control, claim.try_take()) else { return Ok(()) };
        let rows = stored_rows(pass, hook, &Everything, &|_| ());
        if rows.is_complete() {
            let (hook, rows) = rows.finished();
            write_neighbours(pass, hook, &rows, on)?;
            Gathered::default().experiments(pass, hook, &rows, on)?;
        }
        Ok(())
    }
}
