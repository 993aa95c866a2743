from sklfusion.serve._app import create_app as create_app
from sklfusion.serve._run import serve_file as serve_file
from sklfusion.serve._settings import ServiceSettings as ServiceSettings
