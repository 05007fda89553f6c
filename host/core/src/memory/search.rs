//! Full text search in an application's memory: passages ranked by BM25.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bm25::{Document as Indexed, Language, SearchEngine, SearchEngineBuilder};
use nexus_model::{AppName, DefinitionError, FileTree};

use super::{
    Document, MemoryError,
    passages::{Passage, passages},
};

/// Indexes that are kept in memory; with more applications one is made again.
const KEPT: usize = 32;
/// The longest query, in characters; what is longer is cut.
const QUERY: usize = 500;

/// A passage that fits a query.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The document.
    pub document: Document,
    /// The line where the passage begins, from 1.
    pub line: usize,
    /// The passage.
    pub text: String,
    /// How well it fits; to be compared with hits of the same search only.
    pub score: f32,
}

/// The passages of one application at one commit, indexed.
struct Index {
    commit: String,
    passages: Vec<(Document, Passage)>,
    engine: SearchEngine<u32>,
}

/// Indexes by application, the newest commit's each.
#[derive(Default)]
pub(super) struct Searches(Mutex<BTreeMap<AppName, Arc<Index>>>);

impl Searches {
    pub(super) async fn find(
        &self,
        app: &AppName,
        commit: String,
        files: FileTree,
        query: &str,
        limit: usize,
    ) -> Result<Vec<Hit>, MemoryError> {
        let known = self.indexes().get(app).filter(|index| index.commit == commit).cloned();
        let query: String = query.chars().take(QUERY).collect();
        let work = move || {
            let index = known.unwrap_or_else(|| Arc::new(Index::new(commit, &files)));
            let hits = index.find(&query, limit);
            (index, hits)
        };
        let (index, hits) = tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| DefinitionError { step: "search the memory", reason: error.to_string() })?;
        let mut indexes = self.indexes();
        if indexes.len() >= KEPT && !indexes.contains_key(app) {
            indexes.pop_first();
        }
        indexes.insert(app.clone(), index);
        Ok(hits)
    }

    fn indexes(&self) -> std::sync::MutexGuard<'_, BTreeMap<AppName, Arc<Index>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    fn new(commit: String, files: &FileTree) -> Self {
        let known = files.iter().filter_map(|(path, content)| Some((Document::of_path(path)?, content)));
        let passages: Vec<_> = known
            .flat_map(|(document, content)| {
                let found = passages(&String::from_utf8_lossy(content));
                found.into_iter().map(move |passage| (document.clone(), passage))
            })
            .collect();
        // The name of a document is searched with its text.
        let texts = (0_u32..).zip(&passages);
        let indexed = texts.map(|(id, (document, passage))| Indexed::new(id, format!("{document} {}", passage.text)));
        let engine = SearchEngineBuilder::<u32>::with_documents(Language::English, indexed.collect::<Vec<_>>()).build();
        Self { commit, passages, engine }
    }

    fn find(&self, query: &str, limit: usize) -> Vec<Hit> {
        let mut found = self.engine.search(query, None);
        // Equal scores would come in any order.
        found.sort_by(|one, other| other.score.total_cmp(&one.score).then(one.document.id.cmp(&other.document.id)));
        let hits = found.into_iter().take(limit).filter_map(|result| {
            let (document, passage) = self.passages.get(usize::try_from(result.document.id).ok()?)?;
            let (document, text) = (document.clone(), passage.text.clone());
            Some(Hit { document, line: passage.line, text, score: result.score })
        });
        hits.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nexus_model::FileTree;

    use super::Index;

    #[test]
    fn the_passage_that_fits_comes_first() {
        let files: FileTree = [
            ("brief.md", "We sell bicycles and repair them."),
            ("knowledge/returns.md", "# Returns\nGoods can be returned within 30 days.\n\nShipping is not refunded."),
            ("knowledge/hours.md", "Open from nine to five."),
            ("README", "returns, but not a document"),
        ]
        .into_iter()
        .map(|(path, text)| (path.to_owned(), Arc::from(text.as_bytes())))
        .collect();
        let index = Index::new("c".to_owned(), &files);
        let hits = index.find("how long can a customer return something?", 5);
        assert_eq!((hits[0].document.to_string().as_str(), hits[0].line), ("knowledge/returns", 1), "{hits:?}");
        assert!(index.find("zebra", 5).is_empty());
        assert_eq!(index.find("returns", 1).len(), 1);
        assert!(Index::new(String::new(), &FileTree::new()).find("x", 5).is_empty());
    }
}
