//! Having code written: once at a time for each operation, on one of the hosts that share the store.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use nexus_model::{Agreement, JitState, Key, OperationRef, OptimizeMode, StoreError};

use super::{
    OptimizationOracle, OracleError, candidate,
    compile::{self, Compilation, Outcome},
    decide::{Step, decide},
    record,
};
use crate::{
    lease::Lease,
    registry::{Active, OperationEntry},
};

/// How long a host that ended while it had code written keeps others from it.
const LEASE: Duration = Duration::from_secs(15);
/// How often what a compilation came to is put to a record that another host has changed meanwhile.
const RACES: usize = 5;

impl OptimizationOracle {
    pub(super) fn compile_in_background(self: &Arc<Self>, entry: &Arc<OperationEntry>) {
        let Ok(claim) = self.claim(&entry.reference) else { return };
        let (oracle, entry) = (Arc::clone(self), Arc::clone(entry));
        self.parts.tracker.spawn(async move {
            match oracle.compile_claimed(&entry, claim, Wanted::IfDue).await {
                // By another host.
                Ok(()) | Err(OracleError::AlreadyCompiling(_)) => {}
                Err(error) => tracing::warn!(operation = %entry.reference, %error, "code was not written"),
            }
        });
    }

    /// Compiles while no other host on the store does the same. A host that goes on after it has lost its lease, since it
    /// stood still, wastes a compilation and breaks nothing: records change by compare-and-set.
    pub(super) async fn compile_claimed(
        &self,
        entry: &OperationEntry,
        _claim: Claim,
        wanted: Wanted,
    ) -> Result<(), OracleError> {
        let lease = self.lease(&entry.reference);
        if !lease.take().await? {
            return Err(OracleError::AlreadyCompiling(entry.reference.clone()));
        }
        let ended = self.parts.cancel.child_token();
        let compiled = async {
            let outcome = self.compile_leased(entry, wanted).await;
            ended.cancel();
            outcome
        };
        let (outcome, ()) = tokio::join!(compiled, lease.keep(|| true, &ended));
        lease.give_back().await;
        outcome
    }

    /// Whether code is to be written now. Another host may just have done so.
    async fn is_due(&self, entry: &OperationEntry) -> Result<bool, OracleError> {
        let distinct = self.parts.traces.count(&entry.reference, &entry.version).await?;
        Ok(decide(&self.record(entry).await?.record, entry.operation.optimize, distinct) == Step::Compile)
    }

    async fn compile_leased(&self, entry: &OperationEntry, wanted: Wanted) -> Result<(), OracleError> {
        if wanted == Wanted::IfDue && !self.is_due(entry).await? {
            return Ok(());
        }
        let cancelled = || OracleError::Stopping;
        let _permit = self.compilations.acquire().await.map_err(|_| cancelled())?;
        self.announce(entry, JitState::Compiling, None).await;
        let traces = self.parts.traces.read(&entry.reference, &entry.version).await?;
        let distinct = traces.len() as u64;
        let budget = self.parts.registry.budget(&entry.reference.app);
        let compilation = Compilation {
            entry,
            budgets: &self.parts.budgets,
            budget,
            components: self.parts.components.as_ref(),
            config: &self.config,
        };
        let outcome = tokio::select! {
            () = self.parts.cancel.cancelled() => return Err(cancelled()),
            outcome = compilation.run(traces) => outcome,
        };
        match outcome {
            Ok(outcome) => self.settle(entry, &outcome).await,
            Err(refused) => {
                // Nothing was learned about the code; try again when there is a little more to go by.
                let _one = self.changes.lock().await;
                let mut kept = self.record(entry).await?;
                kept.record.needed_inputs = distinct + distinct.div_ceil(10).max(1);
                self.refuse(entry, &mut kept).await?;
                let over_budget = refused.reason == compile::OVER_BUDGET;
                let why = if over_budget { OracleError::OverBudget } else { OracleError::Component };
                Err(why(refused.detail))
            }
        }
    }

    /// Commits what a compilation came to, then lets it take effect. What another host decides meanwhile is taken into
    /// account.
    async fn settle(&self, entry: &OperationEntry, outcome: &Outcome) -> Result<(), OracleError> {
        let _one = self.changes.lock().await;
        for _ in 0..RACES {
            match self.try_settle(entry, outcome).await {
                Err(OracleError::Raced(_)) => {}
                settled => return settled,
            }
        }
        Err(OracleError::Raced(entry.reference.clone()))
    }

    async fn try_settle(&self, entry: &OperationEntry, outcome: &Outcome) -> Result<(), OracleError> {
        let current = self.parts.registry.operation(&entry.reference);
        if current.is_none_or(|current| current.version != entry.version) {
            return Err(OracleError::Outdated(entry.reference.clone()));
        }
        let mut kept = self.record(entry).await?;
        let record = &mut kept.record;
        record.code += 1;
        let Outcome { evidence, candidate, built } = outcome;
        self.commit(entry, record.code, candidate.as_ref(), evidence).await?;
        record.evidence = Some(evidence.clone());
        let Some(built) = built else {
            // The next try needs twice the evidence.
            record.needed_inputs = record.needed_inputs.max(evidence.distinct_inputs).saturating_mul(2);
            return self.refuse(entry, &mut kept).await;
        };
        let digest = built.component.digest();
        record::keep_component(self.parts.runtime.as_ref(), &entry.reference, digest, built.bytes.clone()).await?;
        record.component = Some(digest.to_owned());
        if entry.operation.optimize.mode == OptimizeMode::Recommend {
            self.change(entry, &mut kept, JitState::Ready).await?;
            entry.code.swap(None);
            return Ok(());
        }
        record.live = Agreement::default();
        let code = record.code;
        self.change(entry, &mut kept, JitState::Active).await?;
        entry.code.live().take();
        entry.code.swap(Some(Active { component: Arc::clone(&built.component), code }));
        Ok(())
    }

    async fn commit(
        &self,
        entry: &OperationEntry,
        code: u32,
        candidate: Option<&candidate::Candidate>,
        evidence: &nexus_model::Evidence,
    ) -> Result<(), OracleError> {
        let outcome = evidence.refused.as_ref().map_or("good", |refused| refused.reason.as_str());
        let message = format!("Code v{code} for {}: {outcome}", entry.reference.operation);
        let files = record::files(&entry.reference, code, candidate, evidence)
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        self.parts.definitions.commit_code(&entry.reference.app, files, &message).await?;
        Ok(())
    }

    /// What the host has that has code written for an operation.
    fn lease(&self, operation: &OperationRef) -> Lease {
        Lease {
            runtime: Arc::clone(&self.parts.runtime),
            key: Key::of_app(&operation.app, "lease", format!("compile:{}", operation.operation)),
            holder: self.parts.host.clone(),
            lasts: LEASE,
        }
    }

    pub(super) async fn is_compiled_elsewhere(&self, operation: &OperationRef) -> Result<bool, OracleError> {
        let holder = self.parts.runtime.get(&self.lease(operation).key).await?;
        Ok(holder.is_some_and(|holder| holder != self.parts.host.as_bytes()))
    }

    pub(super) fn is_compiling(&self, operation: &OperationRef) -> bool {
        self.compiling.lock().unwrap_or_else(PoisonError::into_inner).contains(operation)
    }

    /// Takes the one place there is for compiling an operation; dropping the claim gives it back.
    pub(super) fn claim(self: &Arc<Self>, operation: &OperationRef) -> Result<Claim, OracleError> {
        let mut compiling = self.compiling.lock().unwrap_or_else(PoisonError::into_inner);
        if compiling.insert(operation.clone()) {
            Ok(Claim { oracle: Arc::clone(self), operation: operation.clone() })
        } else {
            Err(OracleError::AlreadyCompiling(operation.clone()))
        }
    }
}

/// When code is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Somebody asked for it.
    Now,
    /// If the rules of when still say so.
    IfDue,
}

pub(super) struct Claim {
    oracle: Arc<OptimizationOracle>,
    operation: OperationRef,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.oracle.compiling.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.operation);
    }
}
