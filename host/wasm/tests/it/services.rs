//! What the host does for a component, in memory.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use nexus_model::{
    AppName, ExecutionId, GuestLevel, GuestServices, KeyPage, SecretName, ServiceError, SilentCaller, ToolCaller,
};
use secrecy::SecretString;
use serde_json::{Value, json};

/// Keys on one page.
const PAGE: usize = 3;

/// What the components of a test ask, and what they are told.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) app: AppName,
    pub(crate) state: Mutex<BTreeMap<(String, String), Vec<u8>>>,
    pub(crate) log: Mutex<Vec<(GuestLevel, String, String)>>,
    pub(crate) secrets: HashMap<&'static str, &'static str>,
    pub(crate) folder: Option<PathBuf>,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            app: "app".parse().unwrap(),
            state: Mutex::default(),
            log: Mutex::default(),
            secrets: HashMap::new(),
            folder: None,
        }
    }
}

impl Desk {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.log.lock().unwrap().iter().map(|(_, _, message)| message.clone()).collect()
    }
}

fn key(bucket: &str, key: &str) -> (String, String) {
    (bucket.to_owned(), key.to_owned())
}

#[async_trait]
impl GuestServices for Desk {
    fn app(&self) -> &AppName {
        &self.app
    }

    fn execution(&self) -> Option<ExecutionId> {
        None
    }

    async fn folder(&self) -> Result<PathBuf, ServiceError> {
        self.folder.clone().ok_or_else(|| ServiceError::Failed("no folder".to_owned()))
    }

    async fn secret(&self, name: &SecretName) -> Result<SecretString, ServiceError> {
        let secret = self.secrets.get(name.as_str()).ok_or_else(|| ServiceError::NotFound(name.as_str().to_owned()))?;
        Ok((*secret).into())
    }

    async fn get(&self, bucket: &str, name: &str) -> Result<Option<Vec<u8>>, ServiceError> {
        Ok(self.state.lock().unwrap().get(&key(bucket, name)).cloned())
    }

    async fn set(&self, bucket: &str, name: &str, value: Vec<u8>) -> Result<(), ServiceError> {
        if value.len() > 100_000 {
            return Err(ServiceError::Limit("values of 100,000 bytes".to_owned()));
        }
        self.state.lock().unwrap().insert(key(bucket, name), value);
        Ok(())
    }

    async fn delete(&self, bucket: &str, name: &str) -> Result<(), ServiceError> {
        self.state.lock().unwrap().remove(&key(bucket, name));
        Ok(())
    }

    async fn keys(&self, bucket: &str, cursor: Option<&str>) -> Result<KeyPage, ServiceError> {
        let state = self.state.lock().unwrap();
        let of_bucket = state.keys().filter(|(of, _)| of == bucket).map(|(_, key)| key);
        let mut keys: Vec<_> =
            of_bucket.filter(|key| cursor.is_none_or(|cursor| key.as_str() > cursor)).take(PAGE + 1).cloned().collect();
        let more = keys.len() > PAGE;
        keys.truncate(PAGE);
        Ok(KeyPage { next: keys.last().filter(|_| more).cloned(), keys })
    }

    async fn increment(&self, bucket: &str, name: &str, delta: i64) -> Result<i64, ServiceError> {
        let mut state = self.state.lock().unwrap();
        let value = state.entry(key(bucket, name)).or_insert_with(|| b"0".to_vec());
        let number: i64 = std::str::from_utf8(value).unwrap().parse().unwrap();
        *value = (number + delta).to_string().into_bytes();
        Ok(number + delta)
    }

    async fn compare_and_set(
        &self,
        bucket: &str,
        name: &str,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<bool, ServiceError> {
        let mut state = self.state.lock().unwrap();
        let same = state.get(&key(bucket, name)) == expected.as_ref();
        if same {
            state.insert(key(bucket, name), value);
        }
        Ok(same)
    }

    fn log(&self, level: GuestLevel, context: &str, message: &str) {
        self.log.lock().unwrap().push((level, context.to_owned(), message.to_owned()));
    }

    async fn call_tool(&self, tool: &str, arguments: Value) -> Result<Result<Value, Value>, ServiceError> {
        match tool {
            "echo" => Ok(Ok(arguments)),
            "fail" => Ok(Err(json!({ "because": arguments }))),
            "forbidden" => Err(ServiceError::Denied(tool.to_owned())),
            "hang" => std::future::pending().await,
            _ => Err(ServiceError::NotFound(tool.to_owned())),
        }
    }

    async fn publish(&self, kind: &str, subject: Option<&str>, data: Value) -> Result<String, ServiceError> {
        match kind {
            "forbidden" => Err(ServiceError::Denied(kind.to_owned())),
            _ => Ok(format!("{kind} {subject:?} {data}")),
        }
    }

    async fn generate(&self, model: &str, system: Option<&str>, prompt: &str) -> Result<String, ServiceError> {
        match model {
            "dear" => Err(ServiceError::Limit("5 USD a day".to_owned())),
            _ => Ok(format!("{model} {system:?} {prompt}")),
        }
    }

    fn caller(&self) -> Arc<dyn ToolCaller> {
        Arc::new(SilentCaller)
    }

    fn announce(&self) {}
}
