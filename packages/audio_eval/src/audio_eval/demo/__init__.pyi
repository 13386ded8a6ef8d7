from .limits import Limits as Limits
from .serving import serve_demo as serve_demo
from .session import DemoSession as DemoSession
