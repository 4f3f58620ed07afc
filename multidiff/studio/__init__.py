"""The studio: a web page that generates samples, keeps them, and follows a training. Only this room imports gradio."""
