//! A realm of its own for one test on a real Keycloak, and people who log in and refresh there.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use reqwest::header::{COOKIE, HeaderMap, LOCATION, SET_COOKIE};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

pub(crate) const SECRET: &str = "service-secret";

pub(crate) struct Realm {
    pub(crate) server: String,
    pub(crate) name: String,
    pub(crate) id: String,
    admin: (String, String),
    http: Client,
}

/// What a token endpoint answered.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    pub(crate) refresh: String,
    pub(crate) session: String,
}

/// Cookies of one browser, so that it can log in silently a second time.
#[derive(Default)]
pub(crate) struct Browser {
    cookies: BTreeMap<String, String>,
}

impl Realm {
    /// With public clients `web`, `portal`, `mobile` and the service account `tokenwarden`, which has the roles given.
    pub(crate) async fn create(roles: &[&str]) -> Self {
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let admin = env("TW_KEYCLOAK_ADMIN");
        let (user, password) = admin.split_once(':').unwrap();
        let mut realm = Self {
            server: env("TW_KEYCLOAK").trim_end_matches('/').to_owned(),
            name: unique_name(),
            id: String::new(),
            admin: (user.to_owned(), password.to_owned()),
            http: client(HeaderMap::new()),
        };
        realm.fill(roles).await;
        realm
    }

    async fn fill(&mut self, roles: &[&str]) {
        let public = |name: &str| json!({"clientId": name, "publicClient": true, "directAccessGrantsEnabled": true, "redirectUris": ["*"]});
        let body = json!({
            "realm": self.name, "enabled": true, "sslRequired": "none", "revokeRefreshToken": true,
            "clients": [
                public("web"), public("portal"), public("mobile"),
                {"clientId": "tokenwarden", "secret": SECRET, "serviceAccountsEnabled": true, "standardFlowEnabled": false},
            ],
        });
        self.admin_call(Method::POST, "/admin/realms", Some(body))
            .await;
        let created = self.admin(Method::GET, "", None).await;
        created["id"].as_str().unwrap().clone_into(&mut self.id);
        for role in roles {
            self.grant(role).await;
        }
    }

    /// Gives the service account a role of `realm-management`.
    pub(crate) async fn grant(&self, role: &str) {
        let find = |path: String| async move {
            let found = self.admin(Method::GET, &path, None).await;
            found[0]["id"].as_str().unwrap().to_owned()
        };
        let account = find("/users?username=service-account-tokenwarden".to_owned()).await;
        let management = find("/clients?clientId=realm-management".to_owned()).await;
        let role = self
            .admin(
                Method::GET,
                &format!("/clients/{management}/roles/{role}"),
                None,
            )
            .await;
        let path = format!("/users/{account}/role-mappings/clients/{management}");
        self.admin(Method::POST, &path, Some(json!([role]))).await;
    }

    /// Returns the id.
    pub(crate) async fn add_user(&self, name: &str) -> String {
        let user = json!({
            "username": name, "enabled": true, "email": format!("{name}@example.com"),
            "firstName": name, "lastName": "Test",
            "credentials": [{"type": "password", "value": "pw"}],
        });
        self.admin(Method::POST, "/users", Some(user)).await;
        let path = format!("/users?exact=true&username={name}");
        let found = self.admin(Method::GET, &path, None).await;
        found[0]["id"].as_str().unwrap().to_owned()
    }

    /// Calls the admin API below the realm, and expects it to work.
    pub(crate) async fn admin(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let path = format!("/admin/realms/{}{path}", self.name);
        self.admin_call(method, &path, body).await
    }

    async fn admin_call(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let form = [
            ("grant_type", "password"),
            ("client_id", "admin-cli"),
            ("username", &self.admin.0),
            ("password", &self.admin.1),
        ];
        let url = format!(
            "{}/realms/master/protocol/openid-connect/token",
            self.server
        );
        let answer = self.http.post(url).form(&form).send().await.unwrap();
        let token: Value = answer.json().await.unwrap();
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.server))
            .bearer_auth(token["access_token"].as_str().unwrap());
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Has the realm save the events that a detection needs; none are saved by default.
    pub(crate) async fn save_events(&self) {
        let types = [
            "LOGIN",
            "LOGIN_ERROR",
            "LOGOUT",
            "CODE_TO_TOKEN",
            "REFRESH_TOKEN",
            "REFRESH_TOKEN_ERROR",
            "REVOKE_GRANT",
        ];
        let config = json!({
            "eventsEnabled": true, "enabledEventTypes": types,
            "adminEventsEnabled": true, "adminEventsDetailsEnabled": true,
        });
        self.admin(Method::PUT, "/events/config", Some(config))
            .await;
    }

    /// The same people at another address, as a proxy before the server reports it.
    pub(crate) fn seen_from(&self, address: &str) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", address.parse().unwrap());
        Self {
            server: self.server.clone(),
            name: self.name.clone(),
            id: self.id.clone(),
            admin: self.admin.clone(),
            http: client(headers),
        }
    }

    /// A session of its own, by password; offline when the scope says so.
    pub(crate) async fn log_in(&self, client: &str, user: &str, scope: &str) -> Tokens {
        let form = [
            ("grant_type", "password"),
            ("client_id", client),
            ("username", user),
            ("password", "pw"),
            ("scope", scope),
        ];
        self.token(&form).await.unwrap()
    }

    /// The error text when it is refused.
    pub(crate) async fn refresh(&self, client: &str, tokens: &Tokens) -> Result<Tokens, String> {
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", client),
            ("refresh_token", &tokens.refresh),
        ];
        self.token(&form).await
    }

    async fn token(&self, form: &[(&str, &str)]) -> Result<Tokens, String> {
        let url = format!("{}/protocol/openid-connect/token", self.url());
        let answer = self.http.post(url).form(form).send().await.unwrap();
        let status = answer.status();
        let body: Value = answer.json().await.unwrap();
        if status != StatusCode::OK {
            return Err(body["error_description"]
                .as_str()
                .unwrap_or_default()
                .to_owned());
        }
        Ok(Tokens {
            refresh: body["refresh_token"].as_str().unwrap().to_owned(),
            session: body["session_state"].as_str().unwrap().to_owned(),
        })
    }

    fn url(&self) -> String {
        format!("{}/realms/{}", self.server, self.name)
    }
}

impl Browser {
    /// By the login page the first time, by the cookie afterwards: both clients share one session.
    pub(crate) async fn log_in(&mut self, realm: &Realm, client: &str, user: &str) -> Tokens {
        let url = format!(
            "{}/protocol/openid-connect/auth?client_id={client}&response_type=code&scope=openid&redirect_uri=http://app.example/",
            realm.url()
        );
        let mut answer = self.send(realm, realm.http.get(url)).await;
        if answer.status() == StatusCode::OK {
            let page = answer.text().await.unwrap();
            let action = between(&page, "action=\"", "\"").replace("&amp;", "&");
            let form = [("username", user), ("password", "pw")];
            answer = self.send(realm, realm.http.post(action).form(&form)).await;
        }
        let place = answer.headers()[LOCATION].to_str().unwrap().to_owned();
        let code = format!("{place}&");
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", client),
            ("redirect_uri", "http://app.example/"),
            ("code", between(&code, "code=", "&")),
        ];
        realm.token(&form).await.unwrap()
    }

    async fn send(&mut self, realm: &Realm, request: reqwest::RequestBuilder) -> reqwest::Response {
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = request.header(COOKIE, cookies.join("; ")).build().unwrap();
        let answer = realm.http.execute(request).await.unwrap();
        for cookie in answer.headers().get_all(SET_COOKIE) {
            let text = cookie.to_str().unwrap();
            let (name, rest) = text.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        answer
    }
}

fn client(headers: HeaderMap) -> Client {
    Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(60))
        .default_headers(headers)
        .build()
        .unwrap()
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let rest = text.split_once(from).unwrap().1;
    rest.split_once(to).unwrap().0
}

fn unique_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = jiff::Timestamp::now().as_millisecond();
    format!("t{now}-{count}")
}

pub(crate) fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run tests/run"))
}
