//! Reads a user agent into the kind of client behind it: application, operating system, device class, and whether a
//! program rather than a person's device is likely to have sent it. Versions are dropped: updates must not look like thieves.
//!
//! Three forms are read: browsers (`Mozilla/5.0 ...`, by woothee), products (`MyApp/3.2 (iPhone; iOS 17.4) CFNetwork/...`,
//! `curl/8.1`), and digests as Auth0 logs them (`Chrome 120.0.0 / Mac OS X 10.15.7`). All three give the same names.
//!
//! What cannot be seen: a tablet that asks for desktop pages (Safari on iPad does so by default) sends the user agent of
//! a desktop computer ([`Agent::is_another_kind_than`] knows), and browsers built on Chrome that do not name themselves.

use woothee::parser::Parser;

use crate::model::{Agent, DeviceClass, limits};

/// Products that no person holds in their hands, in lower case without spaces, dashes and underscores.
///
/// `okhttp`, `CFNetwork` and `Dalvik` are not among them: they are what an ordinary mobile app sends unless its makers
/// gave it a name.
const AUTOMATION: &[&str] = &[
    "aiohttp",
    "apachehttpclient",
    "asynchttpclient",
    "axios",
    "bun",
    "burpsuite",
    "curl",
    "deno",
    "electronfetch",
    "faraday",
    "gohttpclient",
    "gorequests",
    "got",
    "grequests",
    "guzzlehttp",
    "headlesschrome",
    "httpie",
    "httpx",
    "hyper",
    "insomnia",
    "jakartacommonshttpclient",
    "java",
    "javahttpclient",
    "jersey",
    "k6",
    "libwwwperl",
    "lua",
    "lwp",
    "node",
    "nodefetch",
    "nodejs",
    "openidclient",
    "perl",
    "phantomjs",
    "php",
    "playwright",
    "postmanruntime",
    "powershell",
    "puppeteer",
    "python",
    "pythonhttpx",
    "pythonrequests",
    "pythonurllib",
    "pythonurllib3",
    "reactornetty",
    "reqwest",
    "restsharp",
    "ruby",
    "scrapy",
    "selenium",
    "superagent",
    "symfonyhttpclient",
    "typhoeus",
    "undici",
    "urllib3",
    "wget",
    "windowspowershell",
];

/// Automation that hides behind the form of a browser, by what betrays it.
const AUTOMATION_IN_BROWSER_FORM: &[&str] = &[
    "HeadlessChrome",
    "PhantomJS",
    "WindowsPowerShell",
    "Selenium",
    "Puppeteer",
    "Playwright",
];

/// The kind of client, or `None` where the text does not say.
pub fn parse_agent(user_agent: &str) -> Option<Agent> {
    let text = bounded(user_agent.trim());
    if matches!(text, "" | "-" | "unknown" | "UNKNOWN" | "null") {
        return None;
    }
    if text.starts_with("Mozilla/") || text.starts_with("Opera/") {
        return parse_browser(text);
    }
    match text.split_once(" / ") {
        Some((client, system)) => parse_digest(client, system),
        None => parse_product(text),
    }
}

fn parse_browser(text: &str) -> Option<Agent> {
    let system = system_of(text);
    if let Some(name) = AUTOMATION_IN_BROWSER_FORM
        .iter()
        .find(|name| text.contains(**name))
    {
        return Some(agent(name, system, true));
    }
    let parsed = Parser::new().parse(text)?;
    let app = electron_app(text).or_else(|| known(parsed.name))?;
    Some(agent(app, system, parsed.category == "crawler"))
}

fn known(name: &str) -> Option<&str> {
    (name != woothee::woothee::VALUE_UNKNOWN).then_some(name)
}

/// Desktop apps made with Electron put their own name in front of Chrome's.
fn electron_app(text: &str) -> Option<&str> {
    if !text.contains(" Electron/") {
        return None;
    }
    let (_, products) = text.rsplit_once(')')?;
    let names = products
        .split_whitespace()
        .filter_map(|product| product.split_once('/'));
    names
        .map(|(name, _)| name)
        .find(|name| !matches!(*name, "Chrome" | "Electron" | "Safari" | "AppleWebKit"))
}

/// `Mobile Safari 17.4.0 / iOS 17.4.0`; `Other` where the maker of the digest did not know.
fn parse_digest(client: &str, system: &str) -> Option<Agent> {
    let name: Vec<&str> = client
        .split_whitespace()
        .filter(|word| !is_version(word) && !matches!(*word, "Mobile" | "iOS"))
        .collect();
    let name = name.join(" ");
    if name.is_empty() || name == "Other" {
        return None;
    }
    let (os_family, device) = system_of(system);
    // Where the system is one that the digest could not name, the browser's name still says that it is held in a hand.
    let device = match device {
        DeviceClass::Desktop | DeviceClass::Other if client.contains("Mobile") => {
            DeviceClass::Phone
        }
        device => device,
    };
    Some(agent(&name, (os_family, device), is_automation(&name)))
}

fn is_version(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_digit() || c == '.')
}

/// `Name/1.2 (comment) more/3`. A text without a version names no product, unless it is a tool that is known.
fn parse_product(text: &str) -> Option<Agent> {
    let end = text.find(['/', '(']).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end)?;
    let name = name.trim();
    if rest.starts_with('/') && !name.is_empty() {
        // aiohttp and others name their interpreter first.
        let library = rest.split_whitespace().skip(1).find_map(named_library);
        let name = if name.eq_ignore_ascii_case("python") {
            library.unwrap_or(name)
        } else {
            name
        };
        return Some(agent(name, system_of(rest), is_automation(name)));
    }
    let automation = is_automation(name);
    automation.then(|| agent(name, system_of(rest), true))
}

fn named_library(product: &str) -> Option<&str> {
    let (name, _) = product.split_once('/')?;
    is_automation(name).then_some(name)
}

fn is_automation(name: &str) -> bool {
    let plain: String = name
        .chars()
        .filter(|c| !matches!(c, ' ' | '-' | '_' | ':'))
        .flat_map(char::to_lowercase)
        .collect();
    AUTOMATION.binary_search(&plain.as_str()).is_ok()
}

/// Operating system and device class, from what all three forms write. The order matters: an iPhone also says
/// `like Mac OS X`, Android also says `Linux`, and both ChromeOS and Android say `X11` or `Linux` as well.
fn system_of(text: &str) -> (&'static str, DeviceClass) {
    let says = |names: &[&str]| names.iter().any(|name| text.contains(name));
    if says(TELEVISIONS) {
        ("TV", DeviceClass::Other)
    } else if says(&["iPad"]) {
        ("iOS", DeviceClass::Tablet)
    } else if says(&["iPhone", "iPod", "iOS"]) {
        ("iOS", DeviceClass::Phone)
    } else if says(&["Android"]) {
        ("Android", android_device(text))
    } else if says(&["Windows Phone"]) {
        ("Windows Phone", DeviceClass::Phone)
    } else if says(&["Windows", "Win32", "Win64"]) {
        ("Windows", DeviceClass::Desktop)
    } else if says(&["Macintosh", "Mac OS", "macOS", "Mac OSX"]) {
        ("macOS", DeviceClass::Desktop)
    } else if says(&["CrOS", "Chrome OS", "ChromeOS"]) {
        ("ChromeOS", DeviceClass::Desktop)
    } else if says(&["Linux", "Ubuntu", "Fedora"]) {
        ("Linux", DeviceClass::Desktop)
    } else if says(&["Darwin", "CFNetwork"]) {
        // An app on an iPhone, an iPad or a Mac: the system's own library does not say which.
        ("Darwin", DeviceClass::Other)
    } else if says(&["FreeBSD", "OpenBSD", "NetBSD"]) {
        ("BSD", DeviceClass::Desktop)
    } else {
        ("Other", DeviceClass::Other)
    }
}

/// Televisions and the boxes beside them: most run Android or iOS, and nobody carries them about.
const TELEVISIONS: &[&str] = &[
    "Android TV",
    "Apple TV",
    "AppleTV",
    "BRAVIA",
    "CrKey",
    "Google TV",
    "GoogleTV",
    "Roku/",
    "SMART-TV",
    "SmartTV",
    "Web0S",
    "tvOS",
];

/// Browsers on Android phones say `Mobile`, those on tablets leave it out; apps say neither and mostly run on phones.
fn android_device(text: &str) -> DeviceClass {
    let tablet =
        text.contains("Tablet") || (text.contains("AppleWebKit") && !text.contains("Mobile"));
    if tablet {
        DeviceClass::Tablet
    } else {
        DeviceClass::Phone
    }
}

fn agent(app: &str, (os_family, device): (&str, DeviceClass), automation: bool) -> Agent {
    let end = app.floor_char_boundary(limits::NAME_BYTES_MAX);
    Agent {
        os_family: os_family.into(),
        device,
        client_app: app.get(..end).unwrap_or_default().into(),
        automation,
    }
}

fn bounded(text: &str) -> &str {
    let end = text.floor_char_boundary(limits::TEXT_BYTES_MAX);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(user_agent: &str) -> String {
        parse_agent(user_agent).map_or_else(
            || "nothing".to_owned(),
            |agent| {
                format!(
                    "{agent}{}",
                    if agent.automation { " automation" } else { "" }
                )
            },
        )
    }

    const CHROME_MAC: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36";
    const SAFARI_IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Mobile/15E148 Safari/604.1";

    #[test]
    fn the_list_of_tools_is_sorted_for_bisection() {
        assert!(AUTOMATION.is_sorted());
    }

    #[test]
    fn browsers() {
        let cases = [
            (CHROME_MAC, "Chrome on macOS (desktop)"),
            (SAFARI_IPHONE, "Safari on iOS (phone)"),
            (
                "Mozilla/5.0 (iPad; CPU OS 16_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.1 Mobile/15E148 Safari/604.1",
                "Safari on iOS (tablet)",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36 Edg/120.0.0.0",
                "Edge on Windows (desktop)",
            ),
            (
                "Mozilla/5.0 (Windows NT 6.1; rv:109.0) Gecko/20100101 Firefox/115.0",
                "Firefox on Windows (desktop)",
            ),
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0",
                "Firefox on Linux (desktop)",
            ),
            (
                "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile Safari/537.36",
                "Chrome on Android (phone)",
            ),
            (
                "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
                "Chrome on Android (tablet)",
            ),
            (
                "Mozilla/5.0 (Linux; Android 11; BRAVIA 4K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
                "Chrome on TV",
            ),
            (
                "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
                "Chrome on ChromeOS (desktop)",
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Slack/4.35 Chrome/120.0.0.0 Electron/28.1 Safari/537.36",
                "Slack on macOS (desktop)",
            ),
        ];
        for (user_agent, expected) in cases {
            assert_eq!(read(user_agent), expected, "{user_agent}");
        }
    }

    #[test]
    fn tools() {
        let cases = [
            ("curl/8.5.0", "curl automation"),
            ("python-requests/2.31.0", "python-requests automation"),
            ("python-httpx/0.27.0", "python-httpx automation"),
            ("Python/3.11 aiohttp/3.9.1", "aiohttp automation"),
            ("Go-http-client/1.1", "Go-http-client automation"),
            ("Java/17.0.9", "Java automation"),
            (
                "Apache-HttpClient/4.5.14 (Java/17.0.9)",
                "Apache-HttpClient automation",
            ),
            ("axios/1.6.2", "axios automation"),
            (
                "node-fetch/1.0 (+https://github.com/bitinn/node-fetch)",
                "node-fetch automation",
            ),
            (
                "got (https://github.com/sindresorhus/got)",
                "got automation",
            ),
            ("node", "node automation"),
            (
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/120.0.0.0 Safari/537.36",
                "HeadlessChrome on Linux (desktop) automation",
            ),
            (
                "Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1.19041",
                "WindowsPowerShell on Windows (desktop) automation",
            ),
        ];
        for (user_agent, expected) in cases {
            assert_eq!(read(user_agent), expected, "{user_agent}");
        }
    }

    #[test]
    fn apps() {
        let cases = [
            (
                "MyApp/3.2 (iPhone; iOS 17.4) CFNetwork/1494.0.7 Darwin/23.4.0",
                "MyApp on iOS (phone)",
            ),
            (
                "MyApp/4.0 (iPad; iOS 18.0; Scale/2.00)",
                "MyApp on iOS (tablet)",
            ),
            (
                "MyApp/3.2 (Android 14; Pixel 8)",
                "MyApp on Android (phone)",
            ),
            (
                "My App/7 (Macintosh; macOS 14.4)",
                "My App on macOS (desktop)",
            ),
            (
                "MyApp/214 CFNetwork/1494.0.7 Darwin/23.4.0",
                "MyApp on Darwin",
            ),
            ("okhttp/4.12.0", "okhttp"),
            (
                "Dalvik/2.1.0 (Linux; U; Android 14; Pixel 8 Build/UQ1A)",
                "Dalvik on Android (phone)",
            ),
            ("acme-cli/1.2", "acme-cli"),
        ];
        for (user_agent, expected) in cases {
            assert_eq!(read(user_agent), expected, "{user_agent}");
        }
    }

    #[test]
    fn a_digest_reads_as_the_browser_it_was_made_from() {
        assert_eq!(
            parse_agent("Chrome 120.0.0 / Mac OS X 10.15.7"),
            parse_agent(CHROME_MAC)
        );
        assert_eq!(
            parse_agent("Mobile Safari 17.4.0 / iOS 17.4.0"),
            parse_agent(SAFARI_IPHONE)
        );
        assert_eq!(
            read("Chrome Mobile 120.0.0 / Android 10.0.0"),
            "Chrome on Android (phone)"
        );
        assert_eq!(
            read("Python Requests 2.31.0 / Other 0.0.0"),
            "Python Requests automation"
        );
        assert_eq!(
            read("1Password 8.10.1 / Windows 10.0.0"),
            "1Password on Windows (desktop)"
        );
        assert_eq!(read("Other 0.0.0 / Other 0.0.0"), "nothing");
    }

    #[test]
    fn updates_change_nothing() {
        let same = [
            (CHROME_MAC.to_owned(), CHROME_MAC.replace("120.0", "126.0")),
            (
                SAFARI_IPHONE.to_owned(),
                SAFARI_IPHONE
                    .replace("17_4", "18_0")
                    .replace("17.4", "18.0"),
            ),
            (
                "MyApp/3.2 (iPhone; iOS 17.4) CFNetwork/1494.0.7 Darwin/23.4.0".to_owned(),
                "MyApp/3.3.1 (iPhone; iOS 17.5) CFNetwork/1496 Darwin/23.5.0".to_owned(),
            ),
        ];
        for (before, after) in same {
            assert_ne!(before, after);
            assert_eq!(parse_agent(&before), parse_agent(&after));
        }
    }

    #[test]
    fn what_says_nothing_is_nothing_and_length_is_bounded() {
        for text in [
            "",
            "  ",
            "-",
            "unknown",
            "Mozilla/5.0",
            "hello there",
            "(((((",
            "/1.0",
        ] {
            assert_eq!(read(text), "nothing", "{text}");
        }
        let long = format!("{}/1.0", "ä".repeat(300));
        let agent = parse_agent(&long).expect("a product");
        assert!(agent.client_app.len() <= limits::NAME_BYTES_MAX);
        assert_eq!(parse_agent(&"é".repeat(1_000_000)), None);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "\\PC{0,200}") {
            let _agent = parse_agent(&text);
        }
    }
}
