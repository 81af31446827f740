//! What protocols ask for in common: the next turn of a conversation.

use super::answer::{Delivery, Prepared, Task, Usage, check_length};
use super::app::App;
use super::failure::{Failure, Outcome};
use super::fields::Fields;
use super::job::{Manner, Wish};
use super::talk::{Form, Functions, Reply, Talk, Talking};
use kinglet::guide::Guide;
use kinglet::tools::{Choice, Toolbox, Tools, Turn};
use kinglet::{Code, Sampling};
use serde_json::Value;

/// A request for replies, whatever protocol it came by.
pub struct Ask<'v> {
    /// What they are to.
    pub prompt: Prompt,
    /// What they may call.
    pub calls: Option<Calls<'v>>,
    /// What they must be.
    pub shape: Option<Shape>,
    /// How they are made; their guide follows from the rest.
    pub manner: Manner,
    /// How many are wanted.
    pub replies: usize,
    /// How the client gets them.
    pub delivery: Delivery,
}

/// What comes before a reply.
pub enum Prompt {
    /// A conversation.
    Turns(Vec<Turn>),
    /// A text that the model goes on with.
    Text(String),
}

/// Functions that a request names.
pub struct Calls<'v> {
    /// The functions.
    pub tools: Tools,
    /// Whether replies call them; none where they must not.
    pub choice: Option<Choice<'v>>,
    /// Whether a reply may have more than one call.
    pub several: bool,
}

impl<'v> Calls<'v> {
    /// Reads the fields `tools`, `tool_choice` and `parallel_tool_calls`. A choice names its
    /// function inside `function`, or, in newer requests, beside its type.
    pub fn read(fields: &Fields<'v>) -> Outcome<Option<Self>> {
        let unknown = || Failure::request("tool_choice must be none, auto, required or a function");
        let choice = match fields.get("tool_choice") {
            None => Some(Choice::Auto),
            Some(Value::String(choice)) => match choice.as_str() {
                "none" => None,
                "auto" => Some(Choice::Auto),
                "required" => Some(Choice::Required),
                _ => return Err(unknown()),
            },
            Some(choice) => {
                let choice = Fields::of(choice, "tool_choice")?;
                if choice.text("type")?.is_some_and(|kind| kind != "function") {
                    return Err(unknown());
                }
                let function = choice.object("function")?.unwrap_or(choice);
                Some(Choice::Named(function.text("name")?.ok_or_else(unknown)?))
            }
        };
        let several = fields.flag("parallel_tool_calls")?.unwrap_or(true);
        let tools = match fields.list("tools")? {
            None | Some([]) => return Ok(None),
            Some(tools) => Tools::from_json(&Value::from(tools).to_string())?,
        };
        Ok(Some(Self { tools, choice, several }))
    }
}

/// What a reply must be.
pub enum Shape {
    /// Any JSON object.
    Object,
    /// JSON of a schema.
    Schema(String),
}

impl Shape {
    /// JSON of this schema.
    pub fn schema(schema: &Value) -> Self {
        Self::Schema(schema.to_string())
    }

    fn guide(&self, app: &App) -> Outcome<Guide> {
        let schema = match self {
            Self::Object => r#"{"type": "object"}"#,
            Self::Schema(schema) => schema,
        };
        Ok(app.guides()?.json_schema(schema)?)
    }
}

impl Ask<'_> {
    /// What the engine must make, and how its events become an answer.
    pub fn prepare(mut self, app: &App, form: Box<dyn Form>) -> Outcome<Prepared> {
        let (toolbox, choice, several) = match self.calls.take() {
            Some(Calls { tools, choice, several }) => {
                (Some(Toolbox::new(&app.model, tools)?), choice, several)
            }
            None => (None, None, false),
        };
        let prompt = tokens(&self.prompt, app, toolbox.as_ref())?;
        check_length(&prompt, app.context)?;
        let shape = self.shape.as_ref().map(|shape| shape.guide(app)).transpose()?;
        let calls = match (&toolbox, choice) {
            (Some(toolbox), Some(choice)) => calls(toolbox, choice, app, shape.is_some())?,
            _ => None,
        };
        let functions = toolbox.filter(|_| calls.is_some());
        let functions = functions.map(|toolbox| Functions { toolbox, several });
        self.manner.guide = calls.or(shape);
        let task = |number: usize| {
            let mut manner = self.manner.clone();
            let seed = manner.sampling.seed.wrapping_add(number as u64);
            manner.sampling = Sampling { seed, ..manner.sampling };
            let wish = Wish::Reply(Box::new(manner));
            Task { prompt: prompt.clone(), prompt_candidates: None, wish }
        };
        let replies = (0..self.replies).map(|_| Reply::default()).collect();
        let usage = Usage { prompt: prompt.len(), ..Usage::default() };
        let talk = Talk::new(replies, usage, functions);
        Ok(Prepared {
            tasks: (0..self.replies).map(task).collect(),
            answer: Box::new(Talking { talk, form, delivery: self.delivery }),
            delivery: self.delivery,
        })
    }
}

fn tokens(prompt: &Prompt, app: &App, toolbox: Option<&Toolbox>) -> Outcome<Vec<u32>> {
    let turns = match prompt {
        Prompt::Text(text) => return Ok(app.model.tokenize(text)?),
        Prompt::Turns(turns) => turns,
    };
    if let Some(toolbox) = toolbox {
        return Ok(toolbox.tokens(&app.model, turns, true)?);
    }
    let messages: Vec<_> = turns.iter().map(Turn::plain).collect();
    let template = app.template.as_ref().map_err(Clone::clone)?;
    Ok(template.tokens(&app.model.tokenizer(), &messages, true)?)
}

/// The grammar of replies that may call functions; none for those that have a shape instead.
fn calls(
    toolbox: &Toolbox,
    choice: Choice<'_>,
    app: &App,
    has_shape: bool,
) -> Outcome<Option<Guide>> {
    match choice {
        Choice::Auto if has_shape => Ok(None),
        Choice::Required | Choice::Named(_) if has_shape => Err(Failure::request(
            "a reply that has a format calls nothing: leave out the format or the tool_choice",
        )),
        choice => Ok(Some(toolbox.guide(app.guides()?, choice)?)),
    }
}

/// Whether conversations cannot be had because the model has no template for them.
pub fn lacks_template(app: &App) -> bool {
    app.template.as_ref().is_err_and(|error| error.code() == Code::NoChatTemplate)
}
