//! `wasi:keyvalue@0.2.0-draft2`: cursors are texts, and there is compare-and-set.

use wasmtime::component::{HasSelf, Linker, Resource};

use super::{Bucket, Reach, Refused};
use crate::wasi::GuestState;

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/wasi/keyvalue-draft2",
        world: "imports",
        imports: { default: async | trappable },
        with: {
            "wasi:keyvalue/store.bucket": crate::capabilities::keyvalue::Bucket,
            "wasi:keyvalue/atomics.cas": super::Cas,
        },
    });
}

use bindings::wasi::keyvalue::{atomics, batch, store};

type Answer<T> = wasmtime::Result<Result<T, store::Error>>;

/// A value that was read, and will be swapped if it is still the same.
#[expect(unreachable_pub, reason = "the bindings export it again")]
pub struct Cas {
    bucket: String,
    key: String,
    read: Option<Vec<u8>>,
}

impl Cas {
    fn bytes(&self) -> usize {
        self.key.len() + self.read.as_ref().map_or(0, Vec::len)
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    store::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)?;
    batch::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)?;
    atomics::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)
}

impl From<Refused> for store::Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NoSuchStore => Self::NoSuchStore,
            Refused::Denied => Self::AccessDenied,
            Refused::Other(why) => Self::Other(why),
        }
    }
}

impl store::Host for GuestState {
    async fn open(&mut self, identifier: String) -> Answer<Resource<Bucket>> {
        Ok(Self::open(self, identifier)?.map_err(Into::into))
    }
}

impl store::HostBucket for GuestState {
    async fn get(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<Option<Vec<u8>>> {
        Ok(self.reach(&bucket)?.get(&key).await.map_err(Into::into))
    }

    async fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> Answer<()> {
        Ok(self.reach(&bucket)?.set(&key, value).await.map_err(Into::into))
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<()> {
        Ok(self.reach(&bucket)?.delete(&key).await.map_err(Into::into))
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<bool> {
        Ok(self.reach(&bucket)?.get(&key).await.map(|value| value.is_some()).map_err(Into::into))
    }

    async fn list_keys(&mut self, bucket: Resource<Bucket>, cursor: Option<String>) -> Answer<store::KeyResponse> {
        let page = self.reach(&bucket)?.keys(cursor.as_deref()).await;
        Ok(page.map(|page| store::KeyResponse { keys: page.keys, cursor: page.next }).map_err(Into::into))
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl batch::Host for GuestState {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Answer<Vec<Option<(String, Vec<u8>)>>> {
        Ok(self.reach(&bucket)?.get_many(keys).await.map_err(Into::into))
    }

    async fn set_many(&mut self, bucket: Resource<Bucket>, values: Vec<(String, Vec<u8>)>) -> Answer<()> {
        Ok(self.reach(&bucket)?.set_many(values).await.map_err(Into::into))
    }

    async fn delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> Answer<()> {
        Ok(self.reach(&bucket)?.delete_many(keys).await.map_err(Into::into))
    }
}

impl atomics::Host for GuestState {
    async fn increment(&mut self, bucket: Resource<Bucket>, key: String, delta: i64) -> Answer<i64> {
        Ok(self.reach(&bucket)?.increment(&key, delta).await.map_err(Into::into))
    }

    async fn swap(&mut self, cas: Resource<Cas>, value: Vec<u8>) -> wasmtime::Result<Result<(), atomics::CasError>> {
        let Cas { bucket, key, read } = self.give(cas)?;
        let reach = self.reach_named(bucket)?;
        match reach.compare_and_set(&key, read, value).await {
            Ok(true) => Ok(Ok(())),
            Ok(false) => Ok(Err(match self.read(reach, key).await? {
                Ok(newer) => atomics::CasError::CasFailed(newer),
                Err(refused) => atomics::CasError::StoreError(refused.into()),
            })),
            Err(refused) => Ok(Err(atomics::CasError::StoreError(refused.into()))),
        }
    }
}

impl atomics::HostCas for GuestState {
    async fn new(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<Resource<Cas>> {
        let reach = self.reach(&bucket)?;
        Ok(self.read(reach, key).await?.map_err(Into::into))
    }

    async fn current(&mut self, cas: Resource<Cas>) -> Answer<Option<Vec<u8>>> {
        Ok(Ok(self.table.get(&cas)?.read.clone()))
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.give(cas).map(|_| ())
    }
}

impl GuestState {
    /// Reads a value and keeps it for a swap.
    async fn read(&mut self, reach: Reach, key: String) -> wasmtime::Result<Result<Resource<Cas>, Refused>> {
        let read = match reach.get(&key).await {
            Ok(read) => read,
            Err(refused) => return Ok(Err(refused)),
        };
        let cas = Cas { bucket: reach.bucket, key, read };
        if let Err(refused) = self.plugin().held.take(cas.bytes()) {
            return Ok(Err(refused));
        }
        Ok(Ok(self.table.push(cas)?))
    }

    fn give(&mut self, cas: Resource<Cas>) -> wasmtime::Result<Cas> {
        let cas = self.table.delete(cas)?;
        self.plugin().held.give(cas.bytes());
        Ok(cas)
    }
}
