//! What endpoints of language models answer.

use std::cell::OnceCell;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use autointerp::llm::{
    ChatClient, ChatRequest, ClientKind, Endpoint, LlmSpec, Message, PromptLogprobs, PromptRequest, Role,
    Secret, connect,
};
use tokio::runtime::{Builder, Runtime};

use super::scratch::home;

/// Clients of one thread, and the answer that all of them get.
struct Server {
    runtime: Runtime,
    clients: Vec<Arc<dyn ChatClient>>,
    answer: Arc<Mutex<(u16, Vec<u8>)>>,
}

thread_local! {
    static SERVER: OnceCell<Option<Server>> = const { OnceCell::new() };
}

/// The body of an answer. Its bytes also choose the client and the status.
pub fn endpoint(input: &[u8]) {
    SERVER.with(|server| {
        if let Some(server) = server.get_or_init(Server::start) {
            server.ask(input);
        }
    });
}

impl Server {
    fn start() -> Option<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").ok()?;
        let address = format!("http://{}/v1", listener.local_addr().ok()?);
        let answer = Arc::new(Mutex::new((200, Vec::new())));
        let said = answer.clone();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let said = said.clone();
                thread::spawn(move || serve(connection, &said));
            }
        });
        let (echo, vllm) = (PromptLogprobs::Echo, PromptLogprobs::Vllm);
        let kinds = [
            (ClientKind::Openai, echo),
            (ClientKind::Openai, vllm),
            (ClientKind::OpenaiCompletions, echo),
            (ClientKind::OpenaiCompletions, vllm),
            (ClientKind::Anthropic, echo),
        ];
        let connected = |(client, prompt_logprobs): (ClientKind, PromptLogprobs)| {
            let spec = LlmSpec {
                client,
                prompt_logprobs,
                model: "m".into(),
                base_url: Some(address.clone().into()),
                retries: 0,
                timeout_seconds: 20.0,
                ..LlmSpec::default()
            };
            let (key, cache_folder) = (Secret::new("sk-abc\"def"), home()?.join("answers"));
            let (base_url, offline, budget, program) = (None, false, None, None);
            let endpoint =
                Endpoint { spec, key, base_url, offline, cache_folder, budget, program, hidden: Vec::new() };
            connect(&endpoint).ok().map(|llm| llm.client)
        };
        let clients = kinds.into_iter().map(connected).collect::<Option<Vec<_>>>()?;
        let runtime = Builder::new_current_thread().enable_all().build().ok()?;
        Some(Self { runtime, clients, answer })
    }

    fn ask(&self, input: &[u8]) {
        let sum =
            input.iter().fold(7usize, |sum, &byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
        let status = [200, 200, 200, 200, 400, 429, 500, 404][sum / 16 % 8];
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = (status, input.to_vec());
        let client = &self.clients[sum % self.clients.len()];
        let message = Message { role: Role::User, content: "two\nlines".into() };
        // Each input is a question of its own, or else its answer would come from the cache.
        let chat = ChatRequest {
            messages: vec![message],
            max_tokens: 5,
            temperature: 0.0,
            sample: sum as u64,
            schema: None,
            top_logprobs: Some(5),
        };
        let prompt = PromptRequest { prompt: format!("a b {sum}"), top: 5, slots: None };
        self.runtime.block_on(async {
            black_box(client.chat(&chat).await.map_err(|error| error.to_string()).is_ok());
            black_box(client.score_prompt(&prompt).await.map_err(|error| error.to_string()).is_ok());
            client.forget(&chat);
            client.forget_prompt(&prompt);
        });
    }
}

/// Answers every request of a connection.
fn serve(connection: TcpStream, said: &Mutex<(u16, Vec<u8>)>) -> Option<()> {
    let mut writer = connection.try_clone().ok()?;
    let mut reader = BufReader::new(connection);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim().to_ascii_lowercase();
            if let Some(stated) = line.strip_prefix("content-length:") {
                length = stated.trim().parse().ok()?;
            }
            if line.is_empty() {
                break;
            }
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).ok()?;
        let (status, body) = said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nretry-after: 0\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        writer.write_all(&[head.as_bytes(), &body].concat()).ok()?;
    }
}
