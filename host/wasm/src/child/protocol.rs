//! What parent and child say to each other: one frame each way.
//!
//! A frame is the length of a header (four bytes, little endian), the header as JSON, and blobs, each after its length
//! (eight bytes, little endian), until the end of the stream.

use bytes::{Buf, BufMut, Bytes};
use nexus_model::ComponentKind;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The longest frame, in bytes.
pub(crate) const MAX_FRAME_BYTES: u64 = 256 << 20;

/// What the child is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Job {
    /// Nothing → machine code of the instrumented engine, machine code of the engine's functions.
    Prepare,
    /// The two of `Prepare`, JavaScript → component, its machine code.
    Snapshot,
    /// Component written by Nexus → its machine code.
    CompileGenerated,
    /// Component written by people → its machine code.
    CompilePlugin,
    /// Component written by people → its machine code, its world as WIT text.
    Describe,
}

impl Job {
    pub(crate) fn compile(kind: ComponentKind) -> Self {
        match kind {
            ComponentKind::Generated => Self::CompileGenerated,
            ComponentKind::Plugin => Self::CompilePlugin,
        }
    }
}

/// The header of what the parent sends.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) job: Job,
    /// The child lets itself be killed after this much processor time.
    pub(crate) cpu_seconds: u64,
    /// The child gets no more writable memory than this.
    pub(crate) data_bytes: u64,
}

/// The header of what the child answers; the blobs are the job's results.
pub(crate) type Reply = Result<(), Refusal>;

/// Why the child has no result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) kind: RefusalKind,
    pub(crate) message: String,
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RefusalKind {
    /// The JavaScript does not parse, or its top level throws.
    Source,
    /// The JavaScript's top level, or the snapshot, takes too much.
    Limit,
    /// The bytes are not a component that the engine accepts.
    NotAComponent,
    /// The compiler gave up.
    Compile,
    /// The program itself is at fault.
    Host,
}

impl Refusal {
    pub(crate) fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(crate) fn host(error: &wasmtime::Error) -> Self {
        Self::new(RefusalKind::Host, format!("{error:#}"))
    }
}

/// Why bytes are not a frame.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("the frame ends in its middle")]
    Truncated,
    #[error("the frame's header cannot be read")]
    Header(#[from] serde_json::Error),
}

/// Writes a frame.
pub(crate) fn encode(header: &impl Serialize, blobs: &[Bytes]) -> Result<Vec<u8>, FrameError> {
    let header = serde_json::to_vec(header)?;
    let length = header.len() + blobs.iter().map(|blob| blob.len() + 8).sum::<usize>() + 4;
    let mut frame = Vec::with_capacity(length);
    frame.put_u32_le(u32::try_from(header.len()).map_err(|_| FrameError::Truncated)?);
    frame.extend_from_slice(&header);
    for blob in blobs {
        frame.put_u64_le(blob.len() as u64);
        frame.extend_from_slice(blob);
    }
    Ok(frame)
}

/// Reads a frame; the blobs share its memory.
pub(crate) fn decode<H: DeserializeOwned>(frame: Vec<u8>) -> Result<(H, Vec<Bytes>), FrameError> {
    let mut rest = Bytes::from(frame);
    let length = u64::from(rest.try_get_u32_le().map_err(|_| FrameError::Truncated)?);
    let header = serde_json::from_slice(&take(&mut rest, length)?)?;
    let mut blobs = Vec::new();
    while rest.has_remaining() {
        let length = rest.try_get_u64_le().map_err(|_| FrameError::Truncated)?;
        blobs.push(take(&mut rest, length)?);
    }
    Ok((header, blobs))
}

fn take(rest: &mut Bytes, length: u64) -> Result<Bytes, FrameError> {
    match usize::try_from(length) {
        Ok(length) if length <= rest.len() => Ok(rest.split_to(length)),
        _ => Err(FrameError::Truncated),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back() {
        let blobs = [Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(b"three")];
        let request = Request { job: Job::Snapshot, cpu_seconds: 10, data_bytes: 1 << 29 };
        let (header, decoded) = decode::<Request>(encode(&request, &blobs).unwrap()).unwrap();
        assert_eq!(header.job, Job::Snapshot);
        assert_eq!(decoded, blobs);
    }

    #[test]
    fn a_frame_cut_anywhere_is_refused_or_has_fewer_blobs() {
        let refusal: Reply = Err(Refusal::new(RefusalKind::Source, "no"));
        let frame = encode(&refusal, &[Bytes::from_static(b"blob")]).unwrap();
        for end in 0..frame.len() {
            assert!(
                decode::<Reply>(frame[..end].to_vec()).is_ok_and(|(_, blobs)| blobs.is_empty()) || {
                    decode::<Reply>(frame[..end].to_vec()).is_err()
                }
            );
        }
        let huge = [&frame[..frame.len() - 12], &u64::MAX.to_le_bytes(), b"blob"].concat();
        assert!(matches!(decode::<Reply>(huge), Err(FrameError::Truncated)));
    }
}
