//! The upstream's stand-in: a policy behind all others, which writes down what would be forwarded and answers as the case says.

use portcullis_gateway_policy::{
    CompileError, Exchange, LiveFiles, LocalAnswer, Making, Phase, Policy, PolicyDefinition, Step, Verdict,
};
use portcullis_model_settings::{Diagnostics, Node, PolicySchema, Tighten, section};
use portcullis_policies::POLICIES;
use std::any::Any;
use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

section! {
    /// Nothing: the stand-in is not configured.
    pub struct Nothing {
        /// Nothing.
        pub nothing: Option<u32>,
    }
}

impl Tighten for Nothing {
    fn tighten(_: &Self, _: &Self, _: &Node<'_>, _: &mut Diagnostics) {}
}

/// What the stand-in plays, and what it was sent. Of this thread, which runs one case at a time.
#[derive(Debug, Default)]
struct Stage {
    status: u16,
    fields: Vec<(String, String)>,
    forwarded: Option<Vec<u8>>,
}

thread_local! {
    static STAGE: RefCell<Stage> = RefCell::default();
}

/// Prepares the answer to the next request.
pub(crate) fn will_answer(status: u16, fields: Vec<(String, String)>) {
    STAGE.set(Stage { status, fields, forwarded: None });
}

/// What was forwarded since.
pub(crate) fn forwarded() -> Option<Vec<u8>> {
    STAGE.with_borrow_mut(|stage| stage.forwarded.take())
}

/// The table of policies with the stand-in at its end.
pub(crate) fn table() -> &'static [PolicyDefinition] {
    static TABLE: OnceLock<Vec<PolicyDefinition>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let settings = PolicySchema::of::<Nothing>("upstream_of_the_case");
        let stand_in =
            PolicyDefinition { settings, phase: Phase::Shape, always: true, compile: Making::Settings(compile), files: &[] };
        POLICIES.iter().copied().chain([stand_in]).collect()
    })
}

fn compile(_: &[Arc<dyn Any + Send + Sync>], _: &LiveFiles) -> Result<Arc<dyn Policy>, CompileError> {
    Ok(Arc::new(StandIn))
}

#[derive(Debug)]
struct StandIn;

impl Policy for StandIn {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        let mut bytes = Vec::new();
        exchange.request.write_to(&mut bytes);
        let status = STAGE.with_borrow_mut(|stage| {
            stage.forwarded = Some(bytes);
            stage.status
        });
        Step::Ready(Verdict::Respond(LocalAnswer { status, fields: Vec::new(), body: String::new() }))
    }

    fn on_response(&self, _: &Exchange, response: &mut portcullis_wire::ResponseHead) {
        STAGE.with_borrow(|stage| {
            for (name, value) in stage.fields.iter().filter(|_| stage.forwarded.is_some()) {
                let appended = response.fields_mut().append_named(name, value.as_bytes());
                appended.unwrap_or_else(|error| panic!("the upstream of the case cannot answer `{name}: {value}`: {error:?}"));
            }
        });
    }
}
