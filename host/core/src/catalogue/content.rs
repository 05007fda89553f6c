//! From values of `nexus:mcp` to the words of the protocol.

use nexus_model::{
    CatalogueError, CatalogueResource, PromptLine, ResourceBody, ResourceData, Role, ToolAnswered, ToolContent,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// `content`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Content {
    Text(String),
    Image(Media),
    Audio(Media),
    Embedded(Contents),
    Link(Resource),
}

/// The answer of a tool whose result is content.
pub(crate) fn answered(value: Value) -> Result<ToolAnswered, CatalogueError> {
    let content: Vec<Content> = serde_json::from_value(value)
        .map_err(|error| CatalogueError::Unavailable(format!("the content is none: {error}")))?;
    let blocks = content.into_iter().map(Content::block).collect();
    Ok(ToolAnswered::Content(ToolContent { blocks, ..ToolContent::default() }))
}

/// A text as a content block.
pub(super) fn text(text: String) -> Value {
    Content::Text(text).block()
}

/// `media`; its bytes are base64 already.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Media {
    data: String,
    media_type: String,
}

/// `contents`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Contents {
    uri: String,
    media_type: Option<String>,
    body: Body,
}

/// `body`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Body {
    Text(String),
    Blob(String),
}

/// `resource`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Resource {
    pub(super) uri: String,
    name: String,
    description: Option<String>,
    media_type: Option<String>,
    size: Option<u64>,
}

/// `line`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Line {
    role: Role,
    content: Content,
}

impl Content {
    /// A content block of the protocol.
    pub(super) fn block(self) -> Value {
        let media =
            |kind: &str, media: Media| json!({ "type": kind, "data": media.data, "mimeType": media.media_type });
        match self {
            Self::Text(text) => json!({ "type": "text", "text": text }),
            Self::Image(image) => media("image", image),
            Self::Audio(sound) => media("audio", sound),
            Self::Embedded(contents) => {
                let (body, text) = match contents.body {
                    Body::Text(text) => ("text", text),
                    Body::Blob(bytes) => ("blob", bytes),
                };
                let mut resource =
                    Map::from_iter([("uri".to_owned(), contents.uri.into()), (body.to_owned(), text.into())]);
                resource.extend(contents.media_type.map(|media_type| ("mimeType".to_owned(), media_type.into())));
                json!({ "type": "resource", "resource": resource })
            }
            Self::Link(resource) => {
                let mut link = Map::from_iter([
                    ("type".to_owned(), "resource_link".into()),
                    ("uri".to_owned(), resource.uri.into()),
                    ("name".to_owned(), resource.name.into()),
                ]);
                link.extend(resource.description.map(|description| ("description".to_owned(), description.into())));
                link.extend(resource.media_type.map(|media_type| ("mimeType".to_owned(), media_type.into())));
                link.extend(resource.size.map(|size| ("size".to_owned(), size.into())));
                Value::Object(link)
            }
        }
    }
}

impl From<Contents> for ResourceBody {
    fn from(contents: Contents) -> Self {
        let data = match contents.body {
            Body::Text(text) => ResourceData::Text(text),
            Body::Blob(bytes) => ResourceData::Blob(bytes),
        };
        Self { uri: contents.uri, media_type: contents.media_type, data }
    }
}

impl From<Resource> for CatalogueResource {
    fn from(resource: Resource) -> Self {
        Self {
            uri: resource.uri,
            name: resource.name,
            description: resource.description,
            media_type: resource.media_type,
            bytes: resource.size,
        }
    }
}

impl From<Line> for PromptLine {
    fn from(line: Line) -> Self {
        Self { role: line.role, content: line.content.block() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(content: Value) -> Value {
        serde_json::from_value::<Content>(content).unwrap().block()
    }

    #[test]
    fn content_becomes_blocks_of_the_protocol() {
        assert_eq!(block(json!({ "text": "a" })), json!({ "type": "text", "text": "a" }));
        let image = json!({ "image": { "data": "AA==", "media-type": "image/png" } });
        assert_eq!(block(image), json!({ "type": "image", "data": "AA==", "mimeType": "image/png" }));
        let embedded = json!({ "embedded": { "uri": "a://b", "media-type": null, "body": { "blob": "AA==" } } });
        assert_eq!(block(embedded), json!({ "type": "resource", "resource": { "uri": "a://b", "blob": "AA==" } }));
        let link = json!({ "link": {
            "uri": "a://b", "name": "b", "description": null, "media-type": "text/plain", "size": 3,
        } });
        let shown =
            json!({ "type": "resource_link", "uri": "a://b", "name": "b", "mimeType": "text/plain", "size": 3 });
        assert_eq!(block(link), shown);
    }
}
