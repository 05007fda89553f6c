//! What the description of the API says beside what stands at each handler: the API as a whole, and the answers that many
//! calls can give.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::{
    Modify, OpenApi, ToSchema,
    openapi::{
        ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, Type,
        path::{Operation, ParameterIn, PathItem},
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

use super::problem::Problem;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Nexus",
        description = "Runs AI applications: an operation is answered by a language model first, and by code that Nexus \
                       wrote, checked and compiled once it proves regular. Errors are problem details (RFC 9457).",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/")),
    components(schemas(Problem)),
    modifiers(&KeyScheme),
    tags(
        (name = "operations", description = "Run operations"),
        (name = "executions", description = "See what happened"),
        (name = "applications", description = "See and change definitions"),
        (name = "plugins", description = "Add components whose functions are tools, and say what they may use"),
        (name = "tools", description = "See and call the functions of plugins"),
        (name = "mcp", description = "See outside MCP servers, and approve their tools"),
        (name = "events", description = "Publish and follow events, and see what they trigger"),
        (name = "memory", description = "Read, change and search what applications are to remember"),
        (name = "optimization", description = "See and steer how code takes over from the model"),
        (name = "keys", description = "Make, rotate and revoke API keys"),
        (name = "secrets", description = "Keep secrets by name; no call shows a value"),
        (name = "audit", description = "See who changed what, and who was turned away"),
        (name = "metrics", description = "See how operations do"),
        (name = "logs", description = "Read what was said"),
        (name = "server", description = "Ask the server about itself"),
    ),
)]
pub(super) struct Description;

struct KeyScheme;

impl Modify for KeyScheme {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("nxs_…")
            .description(Some("An API key, made with `nexus key create` or `POST /v1/keys`."))
            .build();
        openapi.components.get_or_insert_default().add_security_scheme("key", SecurityScheme::Http(scheme));
    }
}

/// One event of a stream of server-sent events.
#[derive(Serialize, ToSchema)]
pub(super) struct StreamEvent {
    /// What kind of event it is.
    event: String,
    /// Where to go on after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// JSON, of a form that the event's kind tells.
    data: String,
}

/// A problem that many calls can answer with.
struct Shared {
    status: &'static str,
    name: &'static str,
    says: &'static str,
    header: Option<(&'static str, &'static str)>,
    /// Whether a call can.
    given: fn(&Call<'_>) -> bool,
}

const RETRY_AFTER: Option<(&str, &str)> = Some(("retry-after", "Seconds to wait before another try"));

const SHARED: [Shared; 10] = [
    Shared {
        status: "400",
        name: "Invalid",
        says: "A parameter, a condition or the body is not what this call takes",
        header: None,
        given: |call| call.has_body() || call.has(&ParameterIn::Query) || call.has(&ParameterIn::Header),
    },
    Shared {
        status: "401",
        name: "Unauthorized",
        says: "No valid API key",
        header: Some(("www-authenticate", "`Bearer`")),
        given: |call| call.asks_for_a_key(),
    },
    Shared {
        status: "403",
        name: "Forbidden",
        says: "The key may not do this, or a server without keys was asked by a foreign page",
        header: None,
        given: |_| true,
    },
    Shared {
        status: "404",
        name: "Unknown",
        says: "Nothing has this name",
        header: None,
        given: |call| call.has(&ParameterIn::Path),
    },
    Shared {
        status: "408",
        name: "Slow",
        says: "The body came too slowly",
        header: None,
        given: |call| call.has_body(),
    },
    Shared {
        status: "413",
        name: "TooLarge",
        says: "The body is too large",
        header: None,
        given: |call| call.has_body(),
    },
    Shared {
        status: "415",
        name: "Unsupported",
        says: "The body is compressed, or not of a media type that this call reads",
        header: None,
        given: |call| call.has_body(),
    },
    Shared {
        status: "429",
        name: "RateLimited",
        says: "Above the key's rate; nothing was begun",
        header: RETRY_AFTER,
        given: |call| call.asks_for_a_key() && call.is_versioned(),
    },
    Shared {
        status: "500",
        name: "Failed",
        says: "A fault of the server's; its log says more",
        header: None,
        given: |_| true,
    },
    Shared {
        status: "503",
        name: "Unavailable",
        says: "Full, stopping, or something that the call needs (the store, the repository, the audit log) is unavailable",
        header: RETRY_AFTER,
        given: |call| call.is_versioned(),
    },
];

/// A call, as far as it is described already.
struct Call<'a> {
    path: &'a str,
    operation: &'a Operation,
}

impl Call<'_> {
    fn has(&self, place: &ParameterIn) -> bool {
        let parameters = self.operation.parameters.iter().flatten();
        parameters.into_iter().any(|one| matches!(one, RefOr::T(parameter) if parameter.parameter_in == *place))
    }

    fn has_body(&self) -> bool {
        self.operation.request_body.is_some()
    }

    fn is_versioned(&self) -> bool {
        self.path.starts_with("/v1/")
    }

    fn asks_for_a_key(&self) -> bool {
        let key = SecurityRequirement::new::<_, [&str; 0], &str>("key", []);
        self.operation.security.as_ref().is_some_and(|ways| ways.contains(&key))
    }
}

/// Adds to every call the answers that it shares with others. What a handler says itself stays as it is.
pub(super) fn share(mut openapi: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    for (path, item) in &mut openapi.paths.paths {
        for operation in operations(item) {
            let call = Call { path, operation };
            let given: Vec<&Shared> = SHARED.iter().filter(|shared| (shared.given)(&call)).collect();
            for shared in given {
                let answer = || RefOr::Ref(Ref::from_response_name(shared.name));
                operation.responses.responses.entry(shared.status.to_owned()).or_insert_with(answer);
            }
        }
    }
    openapi.components.get_or_insert_default().responses.extend(described());
    openapi
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, .. } = item;
    [get, put, post, delete].into_iter().flatten()
}

fn described() -> BTreeMap<String, RefOr<Response>> {
    SHARED.iter().map(|shared| (shared.name.to_owned(), RefOr::T(shared.describe()))).collect()
}

impl Shared {
    fn describe(&self) -> Response {
        let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let mut response = ResponseBuilder::new().description(self.says).content("application/problem+json", problem);
        if let Some((name, says)) = self.header {
            let text = ObjectBuilder::new().schema_type(Type::String).build();
            response = response.header(name, HeaderBuilder::new().schema(Some(text)).description(Some(says)).build());
        }
        response.build()
    }
}
