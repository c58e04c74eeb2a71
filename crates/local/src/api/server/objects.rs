//! Requests about collections and objects: from the HTTP method and the query to a verb, and back.

use std::sync::Arc;
use std::time::Duration;

use daemon::clock;
use http::{Method, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::super::client::DeleteOptions;
use super::super::decode::{FieldValidation, Parsed};
use super::super::paging::At;
use super::super::patch::{self, PatchKind};
use super::super::registry::Type;
use super::super::reviews::REVIEWS;
use super::super::verbs::{Api, Call, Part, Target};
use super::super::{Status, exec, gvr, pod_log, port_forward};
use super::list_options::{self, query};
use super::respond::{self, Body, Held};
use super::route::Place;
use super::service::{Asked, Service};
use super::shown::Shown;
use super::{body, field_manager, watch_stream};

/// For everything but watches and streams.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long a list waits for a version that does not exist yet.
const FUTURE: Duration = Duration::from_secs(3);

impl Service {
    pub(super) async fn place(&self, asked: Asked, place: &Place) -> Result<Response<Body>, Status> {
        let review = REVIEWS.iter().find(|(gvr, _, namespaced)| {
            gvr.group == place.group
                && gvr.version == place.version
                && gvr.resource == place.resource
                && place.namespace.is_empty() != *namespaced
        });
        if let Some((_, kind, _)) = review {
            return self.question(asked, kind, &place.namespace).await;
        }
        let target = self.target(place)?;
        let streams = matches!(&*place.subresource, "log" | "exec" | "attach" | "portforward")
            || asked.request.method() == Method::GET && asked.parameters.is_set("watch");
        if streams {
            return self.stream(asked, target, &place.subresource).await;
        }
        let _room = self.bounds.request()?;
        let served = Box::pin(async {
            match &*place.subresource {
                "" if target.name.is_empty() => self.collection(asked, target).await,
                "" => self.object(asked, target, Part::Whole).await,
                "status" if target.kind.status => self.object(asked, target, Part::Status).await,
                "scale" if target.kind.scale.is_some() => self.scale(asked, target).await,
                "finalize" if target.kind.gvr == gvr::NAMESPACES => {
                    self.object(asked, target, Part::Finalize).await
                }
                "token" if target.kind.gvr == gvr::SERVICE_ACCOUNTS => self.token(asked, &target).await,
                "eviction" if target.kind.gvr == gvr::PODS => self.evict(asked, target).await,
                _ => Err(respond::no_such_resource()),
            }
        });
        clock::timeout(DEADLINE, served)
            .await
            .unwrap_or_else(|_| Err(respond::took_too_long()))
    }

    fn target(&self, place: &Place) -> Result<Target, Status> {
        let registry = self.api.types.now();
        let kind = registry
            .find(&place.group, &place.version, &place.resource)
            .ok_or_else(respond::no_such_resource)?;
        let misplaced = if kind.namespaced {
            place.namespace.is_empty() && !place.name.is_empty()
        } else {
            !place.namespace.is_empty()
        };
        if misplaced {
            return Err(respond::no_such_resource());
        }
        Ok(Target {
            kind: Arc::clone(kind),
            namespace: place.namespace.clone(),
            name: place.name.clone(),
        })
    }

    async fn stream(&self, asked: Asked, target: Target, part: &str) -> Result<Response<Body>, Status> {
        let is_pod = target.kind.gvr == gvr::PODS && !target.name.is_empty();
        match part {
            "" => {
                let room = self.bounds.stream()?;
                let watch = watch_stream::serve(&self.api, &asked, &target, self.drain.clone())?;
                Ok(watch.map(|lines| Held::new(lines, room).boxed_unsync()))
            }
            "exec" | "attach" | "portforward" if is_pod => {
                let pod = self.api.get(&target)?;
                let (parameters, request) = (asked.parameters.all(), asked.request);
                let (node, tasks) = (&self.node, &self.tasks);
                match part {
                    "exec" => exec::exec(&pod, parameters, request, node, tasks).await,
                    "attach" => exec::attach(&pod, parameters, request, node, tasks).await,
                    _ => port_forward::forward(&pod, parameters, request, node, tasks),
                }
            }
            "log" if is_pod => {
                let room = self.bounds.stream()?;
                let pod = self.api.get(&target)?;
                let log = pod_log::log(&pod, asked.parameters.all(), &self.node, self.drain.clone()).await?;
                Ok(log.map(|lines| Held::new(lines, room).boxed_unsync()))
            }
            _ => Err(respond::no_such_resource()),
        }
    }

    async fn question(&self, asked: Asked, kind: &str, namespace: &str) -> Result<Response<Body>, Status> {
        if asked.request.method() != Method::POST {
            return Err(respond::wrong_method());
        }
        let (user, yaml) = (asked.user.clone(), asked.accepted.yaml);
        let question = parsed(asked, None).await?.value;
        Ok(respond::written(
            201,
            yaml,
            &self.api.review_question((kind, namespace), &user, question)?,
        ))
    }

    async fn collection(&self, asked: Asked, target: Target) -> Result<Response<Body>, Status> {
        match *asked.request.method() {
            Method::GET | Method::HEAD => self.list(&asked, &target).await,
            Method::POST => {
                if target.kind.namespaced && target.namespace.is_empty() {
                    return Err(respond::wrong_method());
                }
                let call = call(&asked, target)?;
                let shown = Shown::of(&asked, &call.target);
                let body = parsed(asked, Some(&call.target.kind)).await?;
                let written = self.api.create(&call, body).await?;
                Ok(shown.written(&written, 201))
            }
            Method::DELETE => {
                let call = call(&asked, target)?;
                let shown = Shown::of(&asked, &call.target);
                let query = query(&asked.parameters);
                let page = list_options::page(&asked.parameters)?;
                let options = delete_options(asked).await?;
                let list = self
                    .api
                    .delete_collection(
                        &Call {
                            dry_run: call.dry_run || options.1,
                            ..call
                        },
                        &query,
                        &page,
                        &options.0,
                    )
                    .await?;
                Ok(shown.list(&list))
            }
            _ => Err(respond::wrong_method()),
        }
    }

    async fn object(&self, asked: Asked, target: Target, part: Part) -> Result<Response<Body>, Status> {
        match *asked.request.method() {
            Method::GET | Method::HEAD => {
                if let Some(version) = list_options::version(&asked.parameters)? {
                    wait_for(&self.api, version).await?;
                }
                let object = self.api.current(&target).await?;
                Ok(Shown::of(&asked, &target).object(&object, 200))
            }
            Method::PUT => {
                let call = call(&asked, target)?;
                let shown = Shown::of(&asked, &call.target);
                let body = parsed(asked, Some(&call.target.kind)).await?;
                Ok(shown.written(&self.api.update(&call, part, body).await?, 200))
            }
            Method::PATCH => {
                let call = call(&asked, target)?;
                let shown = Shown::of(&asked, &call.target);
                let kind = patch_kind(&asked, &call.target.kind)?;
                let bytes = body::read(asked.request).await?;
                Ok(shown.written(&self.api.patch(&call, part, kind, &bytes).await?, 200))
            }
            Method::DELETE if part == Part::Whole => {
                let call = call(&asked, target)?;
                let yaml = asked.accepted.yaml;
                let (options, dry_run) = delete_options(asked).await?;
                let call = Call {
                    dry_run: call.dry_run || dry_run,
                    ..call
                };
                let deleted = self.api.delete(&call, &options).await?;
                Ok(respond::written(200, yaml, &deleted.answer(&call)))
            }
            _ => Err(respond::wrong_method()),
        }
    }

    async fn scale(&self, asked: Asked, target: Target) -> Result<Response<Body>, Status> {
        let yaml = asked.accepted.yaml;
        let method = asked.request.method().clone();
        let call = call(&asked, target)?;
        let scale = match method {
            Method::GET | Method::HEAD => self.api.scale(&call)?,
            Method::PUT => {
                let wanted = parsed(asked, None).await?.value;
                self.api.change_scale(&call, |_| Ok(wanted.clone())).await?
            }
            Method::PATCH => {
                let kind = match patch_kind(&asked, &call.target.kind)? {
                    PatchKind::Apply => {
                        let bytes = body::read(asked.request).await?;
                        let scale = self.api.apply_scale(&call, &bytes).await?;
                        return Ok(respond::written(200, yaml, &scale));
                    }
                    // A Scale has no lists, so that both merges do the same.
                    PatchKind::Strategic => PatchKind::Merge,
                    other => other,
                };
                let bytes = body::read(asked.request).await?;
                let kind_of = &call.target.kind;
                self.api
                    .change_scale(&call, |now| patch::apply(kind_of, kind, now, &bytes))
                    .await?
            }
            _ => return Err(respond::wrong_method()),
        };
        Ok(respond::written(200, yaml, &scale))
    }

    async fn token(&self, asked: Asked, target: &Target) -> Result<Response<Body>, Status> {
        if asked.request.method() != Method::POST {
            return Err(respond::wrong_method());
        }
        let yaml = asked.accepted.yaml;
        let request = parsed(asked, None).await?.value;
        Ok(respond::written(
            201,
            yaml,
            &self.api.issue_token(target, request)?,
        ))
    }

    /// `kubectl drain`: a deletion that would respect disruption budgets, were there any.
    async fn evict(&self, asked: Asked, target: Target) -> Result<Response<Body>, Status> {
        if asked.request.method() != Method::POST {
            return Err(respond::wrong_method());
        }
        let call = call(&asked, target)?;
        let eviction = parsed(asked, None).await?.value;
        let options = &eviction["deleteOptions"];
        let call = Call {
            dry_run: call.dry_run || dry_run("DeleteOptions", &texts(&options["dryRun"]))?,
            ..call
        };
        self.api.evict(&call, &options_of(options)).await?;
        let done =
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        Ok(respond::json(201, &done))
    }

    async fn list(&self, asked: &Asked, target: &Target) -> Result<Response<Body>, Status> {
        let page = list_options::page(&asked.parameters)?;
        if let At::NotOlderThan(version) | At::Exact(version) = page.at {
            wait_for(&self.api, version).await?;
        }
        match self.api.list_page(target, &query(&asked.parameters), &page) {
            Ok(mut list) => {
                self.api.all_shown(&target.kind, &mut list.items).await?;
                Ok(Shown::of(asked, target).list(&list))
            }
            Err(status) => {
                let rest = page.token_for_the_rest().filter(|_| status.code == 410);
                let mut object = status.to_object();
                if let Some(token) = &rest {
                    object["metadata"]["continue"] = token.clone().into();
                }
                Ok(respond::json(status.code, &object))
            }
        }
    }
}

/// Waits until the store has reached a version.
async fn wait_for(api: &Api, wanted: u64) -> Result<(), Status> {
    let mut revisions = api.store.revisions();
    let reached = clock::timeout(FUTURE, revisions.wait_for(|newest| *newest >= wanted)).await;
    match reached {
        Ok(Ok(_)) => Ok(()),
        _ => Err(Status {
            details: json!({"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                "retryAfterSeconds": 1}),
            ..Status::new(
                504,
                "Timeout",
                format!(
                    "Timeout: Too large resource version: {wanted}, current: {}",
                    *api.store.revisions().borrow()
                ),
            )
        }),
    }
}

fn call(asked: &Asked, target: Target) -> Result<Call, Status> {
    let parameters = &asked.parameters;
    Ok(Call {
        user: asked.user.clone(),
        target,
        dry_run: dry_run(options_kind(asked.request.method()), &parameters.each("dryRun"))?,
        validation: FieldValidation::from_query(parameters.get("fieldValidation"))?,
        manager: field_manager::of(asked.request.method(), asked.request.headers(), parameters)?,
        force: parameters.get("force") == Some("true"),
    })
}

/// What a request's options are called in messages.
fn options_kind(method: &Method) -> &'static str {
    match *method {
        Method::PUT => "UpdateOptions",
        Method::PATCH => "PatchOptions",
        Method::DELETE => "DeleteOptions",
        _ => "CreateOptions",
    }
}

/// Whether nothing is to be stored; `All` is the only word for it.
fn dry_run(options: &str, words: &[&str]) -> Result<bool, Status> {
    if words.iter().all(|word| *word == "All") {
        return Ok(!words.is_empty());
    }
    let message = format!("Unsupported value: {}: supported values: \"All\"", json!(words));
    Err(Status {
        details: json!({"group": "meta.k8s.io", "kind": options, "causes": [{
            "reason": "FieldValueNotSupported", "message": message, "field": "dryRun"}]}),
        ..Status::new(
            422,
            "Invalid",
            format!("{options}.meta.k8s.io \"\" is invalid: dryRun: {message}"),
        )
    })
}

fn texts(list: &Value) -> Vec<&str> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(Value::as_str).collect()
}

/// What kind of patch a PATCH carries.
fn patch_kind(asked: &Asked, kind: &Type) -> Result<PatchKind, Status> {
    let media_type = body::media_type(asked.request.headers());
    PatchKind::from_content_type(media_type).ok_or_else(|| patch::unsupported(kind))
}

/// The body of a POST or PUT; kubectl sends protobuf for built-in kinds.
async fn parsed(asked: Asked, kind: Option<&Type>) -> Result<Parsed, Status> {
    let media_type = body::media_type(asked.request.headers()).to_owned();
    let bytes = body::read(asked.request).await?;
    body::object(&media_type, &bytes, kind)
}

/// What a DELETE says in its body, or else in its query; and whether it is a dry run.
async fn delete_options(asked: Asked) -> Result<(DeleteOptions, bool), Status> {
    let parameters = &asked.parameters;
    let seconds = parameters
        .get("gracePeriodSeconds")
        .and_then(|text| text.parse().ok());
    let from_query = DeleteOptions {
        grace_seconds: seconds,
        propagation: parameters
            .get("propagationPolicy")
            .or(parameters.get("orphanDependents").map(orphans))
            .map(str::to_owned),
        ..DeleteOptions::default()
    };
    let media_type = body::media_type(asked.request.headers()).to_owned();
    let bytes = body::read(asked.request).await?;
    if bytes.is_empty() {
        return Ok((from_query, false));
    }
    let body = body::object(&media_type, &bytes, None)?.value;
    let dry = dry_run("DeleteOptions", &texts(&body["dryRun"]))?;
    let options = options_of(&body);
    if !body["orphanDependents"].is_null() && !body["propagationPolicy"].is_null() {
        let message = format!(
            "Invalid value: {}: orphanDependents and deletionPropagation cannot be both set",
            body["propagationPolicy"]
        );
        let why = format!("DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: {message}");
        return Err(Status::new(422, "Invalid", why));
    }
    Ok((
        DeleteOptions {
            grace_seconds: options.grace_seconds.or(from_query.grace_seconds),
            propagation: options.propagation.or(from_query.propagation),
            ..options
        },
        dry,
    ))
}

/// The policy that the old `orphanDependents` stands for.
fn orphans(text: &str) -> &'static str {
    if matches!(text, "true" | "1") {
        "Orphan"
    } else {
        "Background"
    }
}

fn options_of(body: &Value) -> DeleteOptions {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let orphans = body["orphanDependents"]
        .as_bool()
        .map(|yes| orphans(if yes { "true" } else { "false" }));
    DeleteOptions {
        grace_seconds: body["gracePeriodSeconds"].as_i64(),
        uid: text(&body["preconditions"]["uid"]),
        resource_version: text(&body["preconditions"]["resourceVersion"]),
        propagation: text(&body["propagationPolicy"]).or(orphans.map(str::to_owned)),
    }
}
