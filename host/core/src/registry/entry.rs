//! One operation, ready to be called.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwapOption;
use nexus_definitions::PromptTemplate;
use nexus_model::{Agreement, Component, Operation, OperationRef, Revision, VersionHash};
use nexus_signals::OperationMetrics;

/// A component that stands in front of the model.
#[derive(Debug, Clone)]
pub(crate) struct Active {
    pub(crate) component: Arc<dyn Component>,
    /// The number of its code, `v<N>` on the branch.
    pub(crate) code: u32,
}

/// Who answers an operation as it is defined.
pub(crate) enum Definition {
    Prompt(Box<PromptTemplate>),
    Component(Arc<dyn Component>),
    /// A program in a sandbox, which is told this.
    Worker(Arc<serde_json::Value>),
    /// A workflow, walked by the host's own program in a sandbox.
    Workflow,
}

/// An operation with everything made ready that a call needs.
pub(crate) struct OperationEntry {
    pub(crate) reference: OperationRef,
    pub(crate) operation: Operation,
    pub(crate) revision: Revision,
    pub(crate) version: VersionHash,
    pub(crate) input: jsonschema::Validator,
    pub(crate) output: jsonschema::Validator,
    pub(crate) definition: Definition,
    pub(crate) metrics: Arc<OperationMetrics>,
    /// Shared by the entries of one version, whatever revision they are of.
    pub(crate) code: Arc<CodeSlot>,
}

/// The code of one version of an operation: written by the oracle, read by the router.
#[derive(Default)]
pub(crate) struct CodeSlot {
    active: ArcSwapOption<Active>,
    live: LiveAgreement,
}

impl CodeSlot {
    pub(crate) fn active(&self) -> Option<Arc<Active>> {
        self.active.load_full()
    }

    pub(crate) fn swap(&self, active: Option<Active>) {
        self.active.store(active.map(Arc::new));
    }

    pub(crate) fn live(&self) -> &LiveAgreement {
        &self.live
    }
}

/// Component answers that the model was asked again about since they were last written down.
#[derive(Default)]
pub(crate) struct LiveAgreement {
    asked: AtomicU64,
    agreed: AtomicU64,
}

impl LiveAgreement {
    pub(crate) fn add(&self, agreed: bool) {
        self.give_back(Agreement { n: 1, handled: 1, agreed: u64::from(agreed), ..Agreement::default() });
    }

    pub(crate) fn peek(&self) -> Agreement {
        agreement(self.asked.load(Ordering::Relaxed), self.agreed.load(Ordering::Relaxed))
    }

    /// What is to be written down; it is gone here.
    pub(crate) fn take(&self) -> Agreement {
        // Asked is counted first and taken last, so that no more have agreed than were asked.
        let agreed = self.agreed.swap(0, Ordering::AcqRel);
        agreement(self.asked.swap(0, Ordering::AcqRel), agreed)
    }

    /// What was taken could not be written down.
    pub(crate) fn give_back(&self, more: Agreement) {
        self.asked.fetch_add(more.handled, Ordering::AcqRel);
        self.agreed.fetch_add(more.agreed, Ordering::AcqRel);
    }
}

fn agreement(asked: u64, agreed: u64) -> Agreement {
    Agreement { n: asked, handled: asked, agreed, ..Agreement::default() }
}
