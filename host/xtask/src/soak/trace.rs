//! What `strace -f -y` wrote.

use std::collections::HashMap;

/// A system call that bears on durability, at its place in the trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// The line: of its end for what makes things durable, of its beginning for an answer.
    pub(super) place: usize,
    pub(super) call: Call,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Call {
    /// `fsync` or `fdatasync` of this file or folder succeeded.
    Sync(String),
    /// A file has this name now, by `rename` or `link`.
    Named {
        /// Its name before.
        from: String,
        /// Its name now.
        to: String,
    },
    /// An answer with the status 201 is being sent.
    Answer,
}

/// Reads a whole trace. Calls that were interrupted by another thread's are put together again.
pub(super) fn events(trace: &str) -> Vec<Event> {
    let mut unfinished: HashMap<&str, (usize, &str)> = HashMap::new();
    let mut events = Vec::new();
    for (place, line) in trace.lines().enumerate() {
        let Some((pid, rest)) = line.split_once(char::is_whitespace) else { continue };
        let rest = rest.trim_start();
        if let Some(begun) = rest.strip_suffix("<unfinished ...>") {
            unfinished.insert(pid, (place, begun));
        } else if let Some((_, end)) = rest.strip_prefix("<... ").and_then(|rest| rest.split_once("resumed>")) {
            let (first, said) = unfinished.remove(pid).unwrap_or((place, ""));
            events.extend(event(&format!("{said}{end}"), first, place));
        } else {
            events.extend(event(rest, place, place));
        }
    }
    events
}

fn event(call: &str, begin: usize, end: usize) -> Option<Event> {
    let (name, arguments) = call.split_once('(')?;
    let succeeded = call.trim_end().ends_with("= 0");
    match name {
        "fsync" | "fdatasync" if succeeded => {
            let path = arguments.split_once('<')?.1.rsplit_once('>')?.0;
            Some(Event { place: end, call: Call::Sync(path.to_owned()) })
        }
        "rename" | "renameat" | "renameat2" | "link" | "linkat" if succeeded => {
            let mut names = arguments.split('"').skip(1).step_by(2).map(str::to_owned);
            let (from, to) = (names.next()?, names.next()?);
            Some(Event { place: end, call: Call::Named { from, to } })
        }
        "write" | "writev" | "sendto" | "sendmsg" if arguments.contains("\"HTTP/1.1 201") => {
            Some(Event { place: begin, call: Call::Answer })
        }
        _ => None,
    }
}

/// Why a file is not known to be on the disk under its name before `deadline`; `None` if it is: its content synced
/// before it got the name, and its folder after that.
pub(super) fn undurable(events: &[Event], file: &str, deadline: usize) -> Option<String> {
    let named = events.iter().find_map(|event| match &event.call {
        Call::Named { from, to } if to == file && event.place < deadline => Some((event.place, from)),
        _ => None,
    });
    let Some((place, from)) = named else { return Some(format!("{file} did not get its name before the answer")) };
    let synced = |path: &str, after: Option<usize>, before: usize| {
        let within = |event: &&Event| after.is_none_or(|after| event.place > after) && event.place < before;
        events.iter().filter(within).any(|event| event.call == Call::Sync(path.to_owned()))
    };
    if !synced(from, None, place) {
        return Some(format!("{file} was not synced before it got its name"));
    }
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    if !synced(folder, Some(place), deadline) {
        return Some(format!("the folder of {file} was not synced before the answer"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Call, events, undurable};

    const TRACE: &str = "\
7 fsync(3</r/objects/tmp_1>)       = 0
8 fsync(4</r/other> <unfinished ...>
7 rename(\"/r/objects/tmp_1\", \"/r/objects/ab/cd\") = 0
8 <... fsync resumed>)              = -1 EIO (Input/output error)
7 fsync(5</r/objects/ab> <unfinished ...>
9 write(1<pipe:[1]>, \"HTTP/1.1 200 OK\", 15) = 15
7 <... fsync resumed>)              = 0
9 writev(6<TCP:[1->2]>, [{iov_base=\"HTTP/1.1 201 Created\\r\\n\", iov_len=22}], 1 <unfinished ...>
7 +++ exited with 0 +++
9 <... writev resumed>)             = 22
";

    #[test]
    fn interrupted_calls_are_put_together() {
        let found = events(TRACE);
        let calls: Vec<_> = found.iter().map(|event| (event.place, &event.call)).collect();
        let named = Call::Named { from: "/r/objects/tmp_1".into(), to: "/r/objects/ab/cd".into() };
        let (content, folder) = (Call::Sync("/r/objects/tmp_1".into()), Call::Sync("/r/objects/ab".into()));
        assert_eq!(calls, [(0, &content), (2, &named), (6, &folder), (7, &Call::Answer)]);
    }

    #[test]
    fn durable_is_content_then_name_then_folder() {
        let found = events(TRACE);
        assert_eq!(undurable(&found, "/r/objects/ab/cd", 7), None);
        assert!(undurable(&found, "/r/objects/ab/cd", 6).is_some_and(|why| why.contains("folder")));
        assert!(undurable(&found, "/r/objects/ab/ef", 7).is_some_and(|why| why.contains("name")));
        assert!(undurable(&found[1..], "/r/objects/ab/cd", 7).is_some_and(|why| why.contains("synced before it got")));
    }
}
