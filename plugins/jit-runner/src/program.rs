//! One JavaScript program: loaded once, then called with JSON.

use rquickjs::{
    CatchResultExt, CaughtError, Context, Ctx, Exception, Function, Object, Persistent, Result, Runtime, Value,
    context::{ContextBuilder, EvalOptions, intrinsic},
};

use crate::bindings::exports::nexus::operation::handler::Outcome;

/// Bytes of JavaScript heap, well below the 64 MiB of linear memory, so that its end is an error of the program.
const HEAP: usize = 40 << 20;

/// Bytes of shadow stack for JavaScript, out of the 1 MiB that the linker sets aside: some 600 calls deep. Before it ends,
/// up to 1 MiB of WebAssembly's own stack is used (`quickjs.h` says how the two relate); the host has to offer that.
const STACK: usize = 320 << 10;

/// Bytes of heap before the first collection. A collection touches every page of the snapshot, and an instance that
/// serves one call rarely needs one.
const COLLECT_AT: usize = 16 << 20;

/// Bytes of a message that go to the host.
const MESSAGE: usize = 500;

/// Takes away what a program must not have.
const LOCKDOWN: &str = include_str!("lockdown.js");

/// Makes the engine build what it makes lazily, so that the snapshot has it.
const WARM: &str = "JSON.stringify(JSON.parse('{\"ok\":[1,2.5,\"a\",true,null,{\"b\":[]}]}'))";

/// What a program may use. No `Date`, `Performance`, `WeakRef`: nothing that tells the time or when memory is freed.
type Intrinsics = (
    intrinsic::Eval,
    intrinsic::RegExpCompiler,
    intrinsic::RegExp,
    intrinsic::Json,
    intrinsic::Proxy,
    intrinsic::MapSet,
    intrinsic::TypedArrays,
    intrinsic::Promise,
);

/// A loaded program: a context in which `run` is defined.
pub(crate) struct Program {
    context: Context,
    run: Persistent<Function<'static>>,
}

impl Program {
    /// Evaluates `source`, which must define a function `run`. The error is for whoever wrote the source.
    pub(crate) fn load(source: Vec<u8>) -> std::result::Result<Self, String> {
        let runtime = Runtime::new().map_err(|error| error.to_string())?;
        runtime.set_memory_limit(HEAP);
        runtime.set_max_stack_size(STACK);
        let context =
            ContextBuilder::default().with::<Intrinsics>().build(&runtime).map_err(|error| error.to_string())?;
        let run = context.with(|ctx| evaluate(&ctx, source).catch(&ctx).map_err(|error| describe(&error)))?;
        runtime.run_gc();
        runtime.set_gc_threshold(COLLECT_AT);
        Ok(Self { context, run })
    }

    /// Answers one call.
    pub(crate) fn run(&self, input: String) -> Outcome {
        self.context.with(|ctx| {
            let answer = self.call(&ctx, input).catch(&ctx);
            answer.unwrap_or_else(|error| Outcome::Failure(describe(&error)))
        })
    }

    fn call(&self, ctx: &Ctx<'_>, input: String) -> Result<Outcome> {
        let run = self.run.clone().restore(ctx)?;
        let input = ctx.json_parse(input)?;
        let answer: Value<'_> = run.call((input,))?;
        let Some(answer) = answer.as_object() else {
            return Ok(malformed());
        };
        outcome(ctx, answer)
    }
}

/// Prepares the context, evaluates the source in it and takes its `run`.
fn evaluate(ctx: &Ctx<'_>, source: Vec<u8>) -> Result<Persistent<Function<'static>>> {
    ctx.eval::<(), _>(LOCKDOWN)?;
    ctx.eval::<(), _>(WARM)?;
    let mut options = EvalOptions::default();
    options.filename = Some("source".to_owned());
    ctx.eval_with_options::<(), _>(source, options)?;
    // Not a property of the global object: `run` may be a `const`.
    let run: Option<Function<'_>> = ctx.eval("typeof run === 'function' ? run : undefined")?;
    let run = run.ok_or_else(|| Exception::throw_reference(ctx, "the source defines no function `run`"))?;
    Ok(Persistent::save(ctx, run))
}

/// Reads `{ok: value}` or `{abstain: "reason"}`.
fn outcome<'js>(ctx: &Ctx<'js>, answer: &Object<'js>) -> Result<Outcome> {
    let (value, reason): (Value<'js>, Value<'js>) = (answer.get("ok")?, answer.get("abstain")?);
    if reason.is_undefined() {
        let text = ctx.json_stringify(value)?;
        return text.map_or_else(|| Ok(malformed()), |text| Ok(Outcome::Value(text.to_string()?)));
    }
    match reason.as_string() {
        Some(reason) if value.is_undefined() => Ok(Outcome::Abstain(shorten(reason.to_string()?))),
        _ => Ok(malformed()),
    }
}

fn malformed() -> Outcome {
    Outcome::Failure("the function returned neither {ok: value} nor {abstain: \"reason\"}".to_owned())
}

/// The error as a short text with the place in the source.
fn describe(error: &CaughtError<'_>) -> String {
    let text = match error {
        CaughtError::Exception(exception) => {
            let name = exception.get("name").unwrap_or_else(|_| "Error".to_owned());
            let message = exception.message().unwrap_or_default();
            format!("{name}: {message}\n{}", exception.stack().unwrap_or_default())
        }
        CaughtError::Value(value) => match value.as_string() {
            Some(text) => format!("thrown: {}", text.to_string().unwrap_or_default()),
            None => format!("thrown: a value of type {}", value.type_name()),
        },
        CaughtError::Error(error) => error.to_string(),
    };
    shorten(text)
}

/// Cuts `text` to `MESSAGE` bytes, at a character's end.
fn shorten(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MESSAGE));
    text.truncate(text.trim_end().len());
    text
}
