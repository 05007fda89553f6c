//! The sample applications that are workflows, as people use them: a reply waits for consent, documents come signed and are
//! kept by a server of the community, notes are summed up at a time of the day.

use std::{
    fmt::Write as _,
    fs::{read_to_string, write},
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use hmac::{Hmac, Mac};
use nexus_tests::{BaseImages, DockerEngine, House, HouseOptions, Latency, Stage, copy_folder, programs, said};
use serde_json::{Value, json};
use sha2::Sha256;

const DESK: &str = "support-desk";
const INTAKE: &str = "document-intake";
const DIGEST: &str = "nightly-digest";

/// How long anything may take; the minute after next is nearer.
const PATIENCE: Duration = Duration::from_mins(3);
const PROCESSES: &str = "sandbox: { driver: process }\n";

const CRUSHED: &str =
    "Order 4711: two of the six rolls of brown tape came crushed. Can I have the money for them back?";
const WHERE: &str = "Where is my order 20391? We need it by Friday.";
const PAPER: &str = "Do you also sell A3 paper in packs of 250?";
const ADVERTISING: &str = "Grow your traffic by 300 % with our SEO experts! Reply STOP to unsubscribe.";

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../apps")
}

/// A stage with a sample application and what was recorded for it.
fn stage(folder: &Path, app: &str) -> Result<Stage> {
    let stage = Stage::new(folder)?;
    copy_folder(&samples().join(app), &stage.apps().join(app))?;
    copy_folder(&samples().join("recordings").join(app), &folder.join("recordings").join(app))?;
    Ok(stage)
}

/// Changes a text in a file of an application.
fn replace(file: &Path, from: &str, to: &str) -> Result<()> {
    let text = read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    ensure!(text.contains(from), "{} does not have `{from}`", file.display());
    Ok(write(file, text.replace(from, to))?)
}

/// Asks until there is something, with a bound.
fn until<T>(house: &House, what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask()? {
            return Ok(found);
        }
        ensure!(Instant::now() < end, "{what}: it has not come\n{}", house.nexus.tail(30));
        sleep(Duration::from_millis(20));
    }
}

/// Waits until an execution has this status; all that is known of it.
fn has_status(house: &House, id: &str, status: &str) -> Result<Value> {
    until(house, &format!("{id} is {status}"), || {
        let now = house.api.execution(id)?;
        let is = now["status"].as_str().unwrap_or_default();
        ensure!(is == status || matches!(is, "running" | "waiting"), "{id} is {is}: {now}");
        Ok((is == status).then_some(now))
    })
}

/// Waits until an execution has begun this step; all that is known of it.
fn has_begun(house: &House, id: &str, step: &str) -> Result<Value> {
    until(house, &format!("{id} begins {step}"), || {
        let now = house.api.execution(id)?;
        ensure!(now["status"] != "failed", "{id} has failed: {now}");
        let begun = steps(&now).any(|one| one["step"] == step);
        Ok(begun.then_some(now))
    })
}

fn steps(execution: &Value) -> impl Iterator<Item = &Value> {
    execution["steps"].as_array().into_iter().flatten()
}

/// The steps of a kind by what they used, in their order.
fn used<'e>(execution: &'e Value, kind: &'e str) -> Vec<&'e str> {
    steps(execution).filter(|step| step["kind"] == kind).filter_map(|step| step["name"].as_str()).collect()
}

/// The executions of an operation that have ended, as they are listed.
fn ended(house: &House, app: &str, operation: &str) -> Result<Vec<Value>> {
    let listed = house.api.get(&format!("/v1/executions?app={app}&limit=200"))?.success()?;
    let listed = listed["executions"].as_array().cloned().unwrap_or_default();
    let over = |one: &Value| !matches!(one["status"].as_str(), Some("running" | "waiting"));
    Ok(listed.into_iter().filter(|one| one["operation"] == operation && over(one)).collect())
}

fn event(id: &str, kind: &str, subject: &str, data: &Value) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "/tests", "type": kind, "subject": subject,
        "datacontenttype": "application/json", "data": data,
    })
}

/// What the desk is to know: an order, as a shop publishes it, and what is promised.
fn furnish(house: &House) -> Result<()> {
    let lines = json!([
        { "article": "brown tape", "quantity": 6, "unit_price": "1.15" },
        { "article": "medium box", "quantity": 40, "unit_price": "0.62" },
    ]);
    let placed = event("4711", "order.placed", "4711", &json!({ "order": "4711", "lines": lines }));
    house.api.publish(DESK, &[placed])?.success()?;
    let known = |place: &str, text: &str| {
        house.api.put(&format!("/v1/apps/{DESK}/memory/{place}"), "*", text.as_bytes())?.success()
    };
    known("brief", "You answer for Kern & Falk, a wholesaler in Bremen.\n")?;
    known(
        "knowledge/refunds",
        "# Refunds\n\nGoods that arrive damaged are paid back at 100 %, without a return. Goods that the customer no longer wants \
         are paid back at 80 % if they come back unopened within 30 days.\n",
    )?;
    until(house, "the order is kept", || Ok(ended(house, DESK, "order")?.pop())).map(drop)
}

fn write_in(house: &House, ticket: &str, text: &str) -> Result<String> {
    house.api.begun(DESK, "answer", &json!({ "ticket": ticket, "text": text }))
}

fn decide(house: &House, decision: &Value) -> Result<()> {
    let id = decision.to_string();
    house.api.publish(DESK, &[event(&id, "approval.given", "tickets", decision)])?.success().map(drop)
}

#[test]
fn a_reply_is_sent_when_a_person_approves_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let stage = stage(folder.path(), DESK)?;
    let house = stage.start_with(PROCESSES, Some(stage.apps()))?;
    furnish(&house)?;
    let (crushed, paper) = (write_in(&house, "T-1", CRUSHED)?, write_in(&house, "T-3", PAPER)?);
    let advertising = house.api.call(DESK, "answer", &json!({ "ticket": "T-4", "text": ADVERTISING }))?.success()?;
    assert_eq!(advertising, json!({ "ticket": "T-4", "status": "escalated", "why": "other" }));

    let waits = has_status(&house, &crushed, "waiting")?;
    assert_eq!(used(&waits, "emit"), ["approval.wanted"], "{waits}");
    // What is said of another ticket is not meant.
    decide(&house, &json!({ "ticket": "T-3", "approved": false, "by": "ben" }))?;
    let declined = has_status(&house, &paper, "completed")?;
    assert_eq!((&declined["output"]["status"], &declined["output"]["why"]), (&json!("escalated"), &json!("declined")));
    assert_eq!(declined["output"]["by"], "ben");
    assert_eq!(used(&declined, "emit"), ["approval.wanted", "ticket.escalated"], "{declined}");
    ensure!(!used(&house.api.execution(&crushed)?, "emit").contains(&"ticket.answered"), "nobody approved that one");

    decide(&house, &json!({ "ticket": "T-1", "approved": true, "by": "ann" }))?;
    let answered = has_status(&house, &crushed, "completed")?;
    is_right(&answered)?;
    house.stop()
}

/// What the crushed rolls end with, and that each tool was used once.
fn is_right(answered: &Value) -> Result<()> {
    let output = &answered["output"];
    assert_eq!((&output["status"], &output["refund"]), (&json!("answered"), &json!("2.30")), "{output}");
    assert_eq!(output["by"], "ann");
    ensure!(output["reply"].as_str().is_some_and(|reply| reply.contains("2.30 EUR")), "{output}");
    // The agent uses two at one time.
    let mut tools = used(answered, "tool");
    tools.sort_unstable();
    let each = ["core.config.get", "core.memory.search", "core.state.get", "core.state.increment", "pricing.refund"];
    assert_eq!(tools, each, "{answered}");
    assert_eq!(used(answered, "emit"), ["approval.wanted", "ticket.answered"], "{answered}");
    Ok(())
}

#[test]
fn a_reply_that_nobody_approves_in_time_goes_to_a_person() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let stage = stage(folder.path(), DESK)?;
    replace(&stage.apps().join(DESK).join("app.yaml"), "approve_within: PT4H", "approve_within: PT2S")?;
    let house = stage.start_with(PROCESSES, Some(stage.apps()))?;
    furnish(&house)?;
    let mail = event("m-1", "mail.received", "T-2", &json!({ "ticket": "T-2", "text": WHERE }));
    house.api.publish(DESK, &[mail])?.success()?;
    let late = until(&house, "the ticket ends", || Ok(ended(&house, DESK, "answer")?.pop()))?;
    let late = house.api.execution(late["id"].as_str().context("an id")?)?;
    let output = &late["output"];
    assert_eq!((&output["status"], &output["why"]), (&json!("escalated"), &json!("late")), "{late}");
    assert_eq!(output["refund"], Value::Null, "{late}");
    ensure!(output["reply"].as_str().is_some_and(|reply| reply.contains("20391")), "the draft goes along: {late}");
    assert_eq!(used(&late, "emit"), ["approval.wanted", "ticket.escalated"], "{late}");
    house.stop()
}

/// The sandboxes, and the servers of others in containers, of an application.
fn containers(engine: &DockerEngine, app: &str) -> Result<Vec<String>> {
    let ids = engine.docker(["ps", "--quiet", "--no-trunc", "--filter", &format!("label=app={app}")])?;
    Ok(ids.lines().map(ToOwned::to_owned).collect())
}

fn has_sandboxes(house: &House) -> Result<()> {
    until(house, "sandboxes can be started", || {
        Ok((house.api.get("/v1/sandboxes")?.json()["available"] == true).then_some(()))
    })
}

/// Calls of a tool that the server has counted.
fn counted(house: &House, tool: &str) -> Result<u64> {
    let metrics = house.api.get("/metrics")?.text;
    let begin = format!("nexus_tool_calls_total{{app=\"{DESK}\",tool=\"{tool}\"}} ");
    let count = metrics.lines().find_map(|line| line.strip_prefix(&begin));
    count.with_context(|| format!("no call of {tool} is counted"))?.parse().context("no count")
}

#[test]
fn a_reply_is_the_same_and_each_tool_is_used_once_when_its_sandbox_is_killed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let engine = DockerEngine::find_or_start(&folder.path().join("engine"))?;
    let stage = stage(folder.path(), DESK)?;
    let settings = format!("sandbox: {{ docker_host: \"{}\" }}\n", engine.address()?);
    // A turn of the agent takes as long as it is recorded to: there is time to be killed in.
    let options = HouseOptions {
        latency: Latency::Recorded,
        ..HouseOptions::new(programs()?, stage.apps(), folder.path().join("recordings"), settings)
    };
    let house = House::start(options, &folder.path().join("data"))?;
    has_sandboxes(&house)?;
    furnish(&house)?;
    let id = write_in(&house, "T-1", CRUSHED)?;
    has_begun(&house, &id, "/do/2/draft/turn/1")?;
    let killed = containers(&engine, DESK)?;
    ensure!(!killed.is_empty(), "it works in no sandbox");
    for container in &killed {
        engine.docker(["kill", container])?;
    }
    has_begun(&house, &id, "/do/5/ask")?;
    ensure!(house.nexus.tail(1_000).contains("a sandbox was lost"), "no work was lost by it");
    decide(&house, &json!({ "ticket": "T-1", "approved": true, "by": "ann" }))?;
    let answered = has_status(&house, &id, "completed")?;
    is_right(&answered)?;
    for tool in used(&answered, "tool") {
        assert_eq!(counted(&house, tool)?, 1, "{tool}");
    }
    house.stop()
}

/// The text of a document of the recordings: that of the input with this part.
fn document(part: &str) -> Result<String> {
    let recorded = read_to_string(samples().join("recordings").join(INTAKE).join("intake-extract.jsonl"))?;
    let texts = recorded.lines().map(serde_json::from_str::<Value>).filter_map(Result::ok);
    let mut texts = texts.filter_map(|line| line["key"]["input"]["text"].as_str().map(str::to_owned));
    texts.find(|text| text.contains(part)).with_context(|| format!("no document has `{part}`"))
}

/// Sends a document as a scanner does that knows this secret.
fn scan(house: &House, secret: &str, id: &str, text: &str) -> Result<u16> {
    let body = json!({ "id": id, "text": text }).to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())?;
    mac.update(body.as_bytes());
    let mut signature = "sha256=".to_owned();
    for byte in mac.finalize().into_bytes() {
        write!(signature, "{byte:02x}")?;
    }
    let headers = [("content-type", "application/json"), ("x-signature", signature.as_str())];
    let path = format!("/v1/hooks/{INTAKE}/scans");
    Ok(house.api.with_key(None).post_with(&path, &headers, body.as_bytes())?.status)
}

/// Waits for what became of a document.
fn taken_in(house: &House, id: &str) -> Result<Value> {
    until(house, &format!("{id} is taken in"), || {
        for one in ended(house, INTAKE, "intake")? {
            let known = house.api.execution(one["id"].as_str().unwrap_or_default())?;
            if known["input"]["id"] == id {
                return Ok(Some(known));
            }
        }
        Ok(None)
    })
}

const SCANNER: &str = "what-scanner-and-server-know";

#[test]
fn signed_documents_are_read_checked_and_kept_by_a_server_of_the_community() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let engine = DockerEngine::find_or_start(&folder.path().join("engine"))?;
    let images = BaseImages::make(&engine, &folder.path().join("images"))?;
    let stage = stage(folder.path(), INTAKE)?;
    write(folder.path().join("scanner"), SCANNER)?;
    let settings = format!(
        "sandbox: {{ docker_host: \"{}\", allow_tags: true }}\nsecrets: {{ {INTAKE}: {{ scanner: {{ file: {} }} }} }}\n{}",
        engine.address()?,
        folder.path().join("scanner").display(),
        images.settings(),
    );
    let house = stage.start_with(&settings, None)?;
    let nexus = |arguments: &[&str]| {
        let mut command = Command::new(programs()?.join("nexus"));
        said(command.args(arguments).args(["--url", house.api.base()]).env("NEXUS_KEY", &house.key))
    };
    nexus(&["apps", "import", &stage.apps().join(INTAKE).display().to_string()])?;
    has_sandboxes(&house)?;
    // What is approved in the sample is what the server in a container offers: nobody approves anything here.
    nexus(&["mcp", "add", INTAKE, "filesystem", "--name", "archive", "--replace"])?;

    assert_eq!(scan(&house, "a guess", "scan-0", &document("RE-2026/0417")?)?, 401);
    for (id, part, wanted) in [
        ("scan-1", "RE-2026/0417", json!({ "id": "scan-1", "status": "stored", "file": "scan-1.json" })),
        ("scan-2", "Statement", json!({ "id": "scan-2", "status": "refused", "why": "it is no invoice" })),
        ("scan-3", "2026-118", json!({ "id": "scan-3", "status": "refused", "why": "net and tax are not the total" })),
        (
            "scan-4",
            "Heckenschnitt",
            json!({ "id": "scan-4", "status": "refused", "why": "something is missing in the invoice" }),
        ),
    ] {
        assert_eq!(scan(&house, SCANNER, id, &document(part)?)?, 202);
        let known = taken_in(&house, id)?;
        assert_eq!(known["output"], wanted, "{known}");
        let told = if wanted["status"] == "stored" { "document.stored" } else { "document.refused" };
        assert_eq!(used(&known, "emit"), [told], "{known}");
    }

    // The server is killed: the next document is kept all the same, by one that is started anew.
    let archive = archive(&engine)?;
    assert_eq!(kept(&engine, &archive, "scan-1")?["total_cents"], 6_997);
    engine.docker(["kill", &archive])?;
    assert_eq!(scan(&house, SCANNER, "scan-5", &document("FACTURE")?)?, 202);
    let known = taken_in(&house, "scan-5")?;
    assert_eq!(known["output"]["status"], "stored", "{known}");
    // Its text says that one cent is to be paid.
    assert_eq!(kept(&engine, &self::archive(&engine)?, "scan-5")?["total_cents"], 108_000);
    house.stop()
}

/// The container of the archive: the one of the application that has a volume.
fn archive(engine: &DockerEngine) -> Result<String> {
    for id in containers(engine, INTAKE)? {
        let inspected: Value = serde_json::from_str(&engine.docker(["inspect", &id])?)?;
        if inspected[0]["Mounts"].as_array().is_some_and(|mounts| mounts.iter().any(|mount| mount["Type"] == "volume"))
        {
            return Ok(id);
        }
    }
    bail!("the archive is not there")
}

/// What is in a file of the archive.
fn kept(engine: &DockerEngine, archive: &str, name: &str) -> Result<Value> {
    let print = format!("process.stdout.write(require('fs').readFileSync('/data/{name}.json'))");
    let told = engine.docker(["exec", archive, "node", "-e", &print])?;
    serde_json::from_str(&told).with_context(|| format!("{name} has {told}"))
}

#[test]
fn notes_are_summed_up_at_a_time_of_the_day_and_taken_away() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let stage = stage(folder.path(), DIGEST)?;
    let house = stage.start_with(PROCESSES, Some(stage.apps()))?;
    let team = "Jonas looks after the warehouse. Mira writes the offers; she is away until Monday.\n";
    let memory = |place: &str| format!("/v1/apps/{DIGEST}/memory/{place}");
    house.api.put(&memory("knowledge/team"), "*", team.as_bytes())?.success()?;
    let notes = [
        "The lift in the warehouse stops between floors, the engineer can come tomorrow at 8.",
        "Offer for Brightwater has to be out by Friday noon, Mira has the prices.",
        "The new labels have arrived.",
    ];
    // One after another: executions that are begun in an order need not end in it.
    for (number, text) in notes.iter().enumerate() {
        let note = event(&number.to_string(), "note.taken", "day", &json!({ "text": text }));
        house.api.publish(DIGEST, &[note])?.success()?;
        until(&house, "the note is kept", || Ok((ended(&house, DIGEST, "note")?.len() > number).then_some(())))?;
    }

    // From now on the night comes each minute.
    replace(&stage.apps().join(DIGEST).join("workflows/digest.yaml"), "30 2 * * *", "* * * * *")?;
    let digest = until(&house, "the digest is written", || Ok(ended(&house, DIGEST, "digest")?.pop()))?;
    let digest = house.api.execution(digest["id"].as_str().context("an id")?)?;
    assert_eq!((&digest["status"], &digest["output"]["notes"]), (&json!("completed"), &json!(notes.len())), "{digest}");
    assert_eq!(used(&digest, "emit"), ["digest.written"], "{digest}");
    let headline = digest["output"]["digest"]["headline"].as_str().context("a headline")?;
    let remembered = house.api.get(&memory("knowledge/digests"))?.text;
    ensure!(remembered.contains(headline), "{remembered} does not have {headline}");
    let tools = used(&digest, "tool");
    let times = |tool: &str| tools.iter().filter(|used| **used == tool).count();
    assert_eq!((times("core.state.get"), times("core.state.delete")), (notes.len(), notes.len()), "{tools:?}");
    let nothing = house.api.call(DIGEST, "digest", &json!({}))?.success()?;
    assert_eq!(nothing, json!({ "notes": 0 }), "the notes were taken away");
    house.stop()
}

/// What lies in the repository is what the set-up makes of it: a sample passes its check alone, without an engine.
#[test]
fn samples_pass_their_check_without_a_server() -> Result<()> {
    for app in [DESK, INTAKE, DIGEST] {
        let folder = tempfile::tempdir()?;
        copy_folder(&samples().join(app), &folder.path().join(app))?;
        let told = said(Command::new(programs()?.join("nexus")).arg("check").arg(folder.path()))?;
        ensure!(told.contains("no faults"), "{app}: {told}");
    }
    Ok(())
}
