//! `nexus audit`.

use super::{
    args::Audit,
    client::{Client, segment},
    failure::Failure,
    key::stamp,
    output::Output,
};
use crate::{AuditList, AuditRecordView, VerificationView};

pub(super) async fn run(command: &Audit, output: Output) -> Result<(), Failure> {
    match command {
        Audit::List { action, by, target, before, limit, connection } => {
            let before = before.map(|seq| seq.to_string());
            let asked = [("action", action), ("key", by), ("target", target), ("before", &before)];
            let filters =
                asked.iter().filter_map(|(name, value)| Some(format!("&{name}={}", segment(value.as_deref()?))));
            let path = format!("/v1/audit?limit={limit}{}", filters.collect::<String>());
            let list: AuditList = Client::new(connection)?.get(&path).await?;
            if output.json {
                output.value(&list);
            } else {
                show(&list, output);
            }
            Ok(())
        }
        Audit::Verify { from, connection } => {
            let found = verify(&Client::new(connection)?, *from).await?;
            if output.json {
                output.value(&found);
            } else if let Some(fault) = &found.fault {
                output.note(&format!("{}; {} before it are as they were written", fault.message, records(&found)));
            } else {
                output.line(&format!("{} as they were written", records(&found)));
            }
            if found.fault.is_none() { Ok(()) } else { Err(Failure::Faults) }
        }
    }
}

/// Asks until the end of the log or the first fault.
async fn verify(client: &Client, from: u64) -> Result<VerificationView, Failure> {
    let mut found = VerificationView { verified: 0, fault: None, next: Some(from) };
    while let Some(next) = found.next {
        let more: VerificationView = client.get(&format!("/v1/audit/verification?from={next}")).await?;
        found = VerificationView { verified: found.verified + more.verified, ..more };
    }
    Ok(found)
}

fn records(found: &VerificationView) -> String {
    format!("{} record{}", found.verified, if found.verified == 1 { "" } else { "s" })
}

fn show(list: &AuditList, output: Output) {
    let rows: Vec<_> = list.records.iter().map(row).collect();
    output.table(&["NUMBER", "TIME", "BY", "ACTION", "TARGET", "DETAIL"], &rows);
    if let Some(next) = list.next {
        output.note(&format!("more with --before {next}"));
    }
}

fn row(record: &AuditRecordView) -> Vec<String> {
    let by = if record.key_name.is_empty() {
        record.key_id.clone()
    } else {
        format!("{} ({})", record.key_id, record.key_name)
    };
    vec![
        record.seq.to_string(),
        stamp(record.time),
        by,
        record.action.clone(),
        record.target.clone(),
        record.detail.to_string(),
    ]
}
