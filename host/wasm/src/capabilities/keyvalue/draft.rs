//! `wasi:keyvalue@0.2.0-draft`: cursors are numbers, and there is no compare-and-set.

use wasmtime::component::{HasSelf, Linker, Resource};

use super::{Bucket, Refused};
use crate::wasi::GuestState;

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/wasi/keyvalue-draft",
        world: "imports",
        imports: { default: async | trappable },
        with: { "wasi:keyvalue/store.bucket": crate::capabilities::keyvalue::Bucket },
    });
}

use bindings::wasi::keyvalue::{atomics, batch, store};

type Answer<T> = wasmtime::Result<Result<T, store::Error>>;

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

    async fn list_keys(&mut self, bucket: Resource<Bucket>, cursor: Option<u64>) -> Answer<store::KeyResponse> {
        let cursor = match cursor {
            None => None,
            Some(number) => match self.table.get(&bucket)?.cursor(number) {
                Some(cursor) => Some(cursor),
                None => return Ok(Err(store::Error::Other("the cursor is not known (any more)".to_owned()))),
            },
        };
        let page = match self.reach(&bucket)?.keys(cursor.as_deref()).await {
            Ok(page) => page,
            Err(refused) => return Ok(Err(refused.into())),
        };
        let bucket = self.table.get_mut(&bucket)?;
        Ok(Ok(store::KeyResponse { keys: page.keys, cursor: page.next.map(|next| bucket.number(next)) }))
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
    async fn increment(&mut self, bucket: Resource<Bucket>, key: String, delta: u64) -> Answer<u64> {
        let Ok(delta) = i64::try_from(delta) else {
            return Ok(Err(store::Error::Other(format!("{delta} is too much to add"))));
        };
        Ok(match self.reach(&bucket)?.increment(&key, delta).await {
            Ok(sum) => u64::try_from(sum).map_err(|_| store::Error::Other(format!("the number is {sum}, below zero"))),
            Err(refused) => Err(refused.into()),
        })
    }
}
