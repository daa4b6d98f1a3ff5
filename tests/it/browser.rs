//! A real browser, driven through WebDriver: headless Chromium with its chromedriver.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// How long a page may take to show what a script draws.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where to look for the two programs, first come first served.
const DRIVERS: [&str; 2] = ["chromedriver", "chromium.chromedriver"];
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// What an element is called in an answer (WebDriver, section 12.2).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// An open browser; closed when dropped. Commands are those of the W3C's WebDriver: JSON over HTTP to a driver on this
/// machine.
pub struct Browser {
    driver: Child,
    /// `http://127.0.0.1:PORT/session/ID`.
    session: String,
    http: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

fn on_path(names: &[&str]) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|file| file.is_file())
}

impl Browser {
    /// Opens one, or says why not.
    pub fn open(width: u32, height: u32) -> Option<Self> {
        let (Some(driver), Some(browser)) = (on_path(&DRIVERS), on_path(&BROWSERS)) else {
            println!("skipped: no chromium with chromedriver on the path");
            return None;
        };
        let mut driver = Command::new(driver)
            .args(["--port=0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        let said = BufReader::new(driver.stdout.take().expect("its stdout"));
        let port = said.lines().map_while(Result::ok).find_map(|line| {
            let port = line.split("successfully on port ").nth(1)?;
            port.trim_end_matches('.').trim().parse::<u16>().ok()
        });
        let port = port.expect("chromedriver says its port");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let arguments = [
            "--headless=new".to_string(),
            "--no-sandbox".into(),
            "--disable-gpu".into(),
            "--disable-dev-shm-usage".into(),
            format!("--window-size={width},{height}"),
        ];
        let wanted = json!({
            "goog:chromeOptions": {"args": arguments, "binary": browser},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        });
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE * 3).build().expect("a client");
        let mut opened = Self { driver, session: format!("http://127.0.0.1:{port}/session"), http, runtime };
        let answer = opened.post("", &json!({"capabilities": {"alwaysMatch": wanted}}));
        let id = answer["sessionId"].as_str().expect("a session").to_string();
        opened.session = format!("{}/{id}", opened.session);
        // A window has a least width; a page can be shown on any.
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        opened.devtools("Emulation.setDeviceMetricsOverride", &size);
        Some(opened)
    }

    /// Sends a command and gives its `value`; what the driver refuses fails the test.
    fn post(&self, command: &str, body: &Value) -> Value {
        let address = format!("{}{command}", self.session);
        let answered = self
            .runtime
            .block_on(async { self.http.post(&address).json(body).send().await?.json::<Value>().await });
        let answer = answered.unwrap_or_else(|error| panic!("{command}: {error}"));
        let value = answer["value"].clone();
        assert!(
            value["error"].is_null(),
            "{command} {}: {}",
            body.to_string().chars().take(200).collect::<String>(),
            value["message"]
        );
        value
    }

    fn element(&self, selector: &str) -> String {
        let found = self.post("/element", &json!({"using": "css selector", "value": selector}));
        found[ELEMENT].as_str().expect("an element").to_string()
    }

    /// Opens a file; `fragment` is what follows `#`.
    pub fn go(&self, file: &Path, fragment: &str) {
        let file = file.canonicalize().expect("a page");
        let address = format!("file://{}{fragment}", file.display());
        self.post("/url", &json!({"url": address}));
    }

    /// Runs a function's body in the page.
    pub fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// Runs a function's body that calls its last argument when it is done.
    pub fn run_later(&self, script: &str) -> Value {
        self.post("/execute/async", &json!({"script": script, "args": []}))
    }

    /// Waits until an expression is true in the page.
    pub fn wait(&self, expression: &str) {
        let started = std::time::SystemTime::now();
        while self.run(&format!("return Boolean({expression});")) != Value::Bool(true) {
            assert!(started.elapsed().is_ok_and(|time| time < PATIENCE), "never true: {expression}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Clicks the first element that a selector finds.
    pub fn click(&self, selector: &str) {
        let element = self.element(selector);
        self.post(&format!("/element/{element}/click"), &json!({}));
    }

    /// Types into the element that has the focus after a click on `selector`.
    pub fn type_into(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.post(&format!("/element/{element}/value"), &json!({"text": text}));
    }

    /// Presses keys on the page as it is.
    pub fn press(&self, keys: &str) {
        let presses = keys.chars().flat_map(|key| {
            [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})]
        });
        let presses: Vec<Value> = presses.collect();
        self.post("/actions", &json!({"actions": [{"type": "key", "id": "keyboard", "actions": presses}]}));
    }

    /// Moves the pointer over an element, as a hand would.
    pub fn hover(&self, selector: &str) {
        self.run(&format!(
            "document.querySelector({}).scrollIntoView({{block: 'center', behavior: 'instant'}});",
            json!(selector)
        ));
        let place = self.run(&format!(
            "const b = document.querySelector({}).getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2];",
            json!(selector)
        ));
        let parameters = json!({"type": "mouseMoved", "x": place[0], "y": place[1]});
        self.devtools("Input.dispatchMouseEvent", &parameters);
    }

    /// Sets what the reader's system prefers.
    pub fn prefer(&self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", &features);
    }

    /// The page as a PDF, in base64.
    pub fn printed(&self) -> String {
        let printed = self.devtools("Page.printToPDF", &json!({}));
        printed["data"].as_str().unwrap_or_default().to_string()
    }

    /// A picture of the whole page, for a person to look at: written in base64 where `AUTOINTERP_SCREENSHOTS` names a folder.
    pub fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("AUTOINTERP_SCREENSHOTS") else { return };
        let size = self.devtools("Page.getLayoutMetrics", &json!({}))["cssContentSize"].clone();
        let clip = json!({"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1});
        let shot =
            self.devtools("Page.captureScreenshot", &json!({"captureBeyondViewport": true, "clip": clip}));
        let path = Path::new(&folder).join(format!("{name}.png.base64"));
        autointerp::base::write_atomic(&path, shot["data"].as_str().unwrap_or_default().as_bytes())
            .expect("written");
    }

    fn devtools(&self, command: &str, parameters: &Value) -> Value {
        let body = json!({"cmd": command, "params": parameters});
        self.post("/goog/cdp/execute", &body)
    }

    fn log(&self, kind: &str) -> Vec<Value> {
        self.post("/se/log", &json!({"type": kind})).as_array().cloned().unwrap_or_default()
    }

    /// Everything that the console said since it was last asked.
    pub fn console(&self) -> Vec<String> {
        self.log("browser").iter().map(|entry| entry["message"].to_string()).collect()
    }

    /// Every address that was asked for since it was last asked.
    pub fn requests(&self) -> Vec<String> {
        let requested = |entry: &Value| {
            let message: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let message = &message["message"];
            (message["method"] == "Network.requestWillBeSent")
                .then(|| message["params"]["request"]["url"].as_str().unwrap_or_default().to_string())
        };
        self.log("performance").iter().filter_map(requested).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // A browser that is gone already is closed.
        let _ = self.runtime.block_on(async { self.http.delete(&self.session).send().await });
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
